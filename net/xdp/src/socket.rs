//! AF_XDP sockets on queues of a network device, as a [`FrameDevice`]: rings over one umem.
//!
//! ```text
//!            fill ──→ │        │ ──→ receive            of the receiving half, for each queue
//!                     │ kernel │
//!        transmit ──→ │        │ ──→ completion         of the sending half, on the first queue
//!
//! umem:  frames of queue 0 │ frames of queue 1 │ … │ frames for sending
//! ```
//!
//! The halves share descriptors and umem, and no frame: whose a frame is, its address tells.

use std::ffi::{CString, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ironbell_device::checksum::Unsummed;
use ironbell_device::{Capabilities, FrameDevice, FrameRx, FrameTx};
use libc::xdp_desc;

use crate::Error;
use crate::features::features;
use crate::umem::{Offsets, Ring, Umem};

/// What a socket is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The network device.
    pub interface: String,
    /// Its queue; of several, the first, by which frames are sent.
    pub queue: u32,
    /// So many queues from there on are received from, at least one. Cards spread connections over queues.
    pub queues: u32,
    /// Frames for receiving, of each queue, and as many for sending. A power of two.
    pub frames: u32,
    /// Bytes of a frame in the umem: 2,048 or 4,096. The kernel takes 256 of them for itself.
    pub frame_size: u32,
    /// Whether the card is to read and write our memory itself.
    pub copy: Copy,
    /// Who fills in the checksums of what is sent.
    pub checksum: Checksum,
    /// The kernel polls the card's queue in our calls, not in its interrupts (SO_PREFER_BUSY_POLL), so many
    /// frames at a time; 0: it does not. The device wants `napi_defer_hard_irqs` and `gro_flush_timeout` then.
    pub busy_poll_budget: u32,
}

impl Config {
    /// 2,048 frames of 2,048 bytes each way on queue 0 of `interface` alone.
    #[must_use]
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            queue: 0,
            queues: 1,
            frames: 2_048,
            frame_size: 2_048,
            copy: Copy::IfNeeded,
            checksum: Checksum::Auto,
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

/// Who fills in the TCP and UDP checksums of frames that are sent. Those of IP are always ours, and those of what comes in
/// are checked by us: the kernel has no word for what a card has checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// The card, where it says that it does so and nothing is copied; otherwise we.
    #[default]
    Auto,
    /// We do.
    Software,
    /// The card: refuse to open where it does not.
    Offload,
    /// The kernel, as it copies (`XDP_UMEM_TX_SW_CSUM`, which it calls a means of debugging): so that what a card would be
    /// asked for can be tried without one.
    Kernel,
}

/// AF_XDP sockets on queues of one device.
pub type XdpDevice = FrameDevice<XdpRx, XdpTx>;

/// Bytes of an Ethernet header with two tags, before the MTU's.
const LINK_LEN: usize = 22;
/// Frames taken at once.
const BURST: usize = 64;
/// The umem's headroom that the kernel keeps for itself (`XDP_PACKET_HEADROOM`).
const KERNEL_HEADROOM: usize = 256;

/// Bytes before a frame to be sent in which it is said what the card shall do with it (`struct xsk_tx_metadata`):
///
/// ```text
/// flags 8 │ where the sum begins 2 │ where it goes, from there 2 │ of other uses 12 ║ frame
/// ```
const METADATA_LEN: u32 = 24;

/// What both halves hold.
#[derive(Debug)]
struct Shared {
    /// One for each queue, in their order.
    sockets: Vec<OwnedFd>,
    umem: Umem,
}

/// The receiving half.
#[derive(Debug)]
pub struct XdpRx {
    shared: Arc<Shared>,
    /// In the order of the sockets.
    queues: Vec<RxQueue>,
    /// The queue that is looked at first next time, so that a busy one keeps no other from being heard.
    first: usize,
    burst: Vec<xdp_desc>,
    frame_size: u64,
    /// Bytes of the umem that belong to one queue.
    queue_size: u64,
    polls_card: bool,
}

#[derive(Debug)]
struct RxQueue {
    fill: Ring<u64>,
    receive: Ring<xdp_desc>,
    frames: u64,
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
    /// Whether somebody behind us fills in checksums.
    fills_checksums: bool,
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

/// Opens sockets on all queues that `config` names. They receive nothing before a program sends frames to them.
///
/// # Errors
/// [`Error::NoInterface`]; [`Error::NoOffload`]; [`Error::Socket`] with what failed. A queue that was closed a moment ago is busy
/// for a while: that is waited for.
///
/// # Panics
/// When `frames` or `frame_size` is no power of two, or there is no queue.
pub fn open(config: &Config) -> Result<XdpDevice, Error> {
    assert!(config.queues > 0, "something is received from");
    let opening = Opening::new(config, config.queues)?;
    let (first, is_zero_copy) = opening.first(true)?;
    let transmit = opening.ring(&first, libc::XDP_PGOFF_TX_RING, |offsets| &offsets.tx)?;
    let completion =
        opening.ring(&first, page(libc::XDP_UMEM_PGOFF_COMPLETION_RING), |offsets| &offsets.cr)?;
    let mut sockets = vec![first];
    for number in 1..config.queues {
        sockets.push(opening.further(number, sockets[0].fd.as_fd())?);
    }
    let frame_size = u64::from(config.frame_size);
    let mut fds = Vec::new();
    let mut queues = Vec::new();
    for Bound { fd, fill, receive } in sockets {
        fds.push(fd);
        queues.push(RxQueue { fill, receive: receive.expect("it was asked for"), frames: 0 });
    }
    let capabilities = opening.capabilities(is_zero_copy)?;
    let free = opening.frames_to_send();
    let shared = Arc::new(Shared { sockets: fds, umem: opening.umem });
    Ok(FrameDevice {
        rx: XdpRx {
            shared: Arc::clone(&shared),
            queues,
            first: 0,
            burst: Vec::with_capacity(BURST),
            frame_size,
            queue_size: u64::from(config.frames) * frame_size,
            polls_card: config.busy_poll_budget > 0,
        },
        tx: XdpTx::new(shared, transmit, completion, free, &capabilities),
        capabilities,
    })
}

/// Opens a socket on the first queue that `config` names, for sending alone; what comes in by that queue is the
/// kernel's.
///
/// # Errors
/// As [`open`].
///
/// # Panics
/// As [`open`].
pub fn open_sender(config: &Config) -> Result<(XdpTx, Capabilities), Error> {
    // A card without copying fills the frames that it receives into from our umem even so, and takes them back itself
    // when they are passed to the kernel: without any, the kernel would not hear that queue any more.
    let opening = Opening::new(config, 1)?;
    let (first, is_zero_copy) = opening.first(false)?;
    let transmit = opening.ring(&first, libc::XDP_PGOFF_TX_RING, |offsets| &offsets.tx)?;
    let completion =
        opening.ring(&first, page(libc::XDP_UMEM_PGOFF_COMPLETION_RING), |offsets| &offsets.cr)?;
    let capabilities = opening.capabilities(is_zero_copy)?;
    let free = opening.frames_to_send();
    let shared = Arc::new(Shared { sockets: vec![first.fd], umem: opening.umem });
    Ok((XdpTx::new(shared, transmit, completion, free, &capabilities), capabilities))
}

/// A socket that is bound.
struct Bound {
    fd: OwnedFd,
    fill: Ring<u64>,
    receive: Option<Ring<xdp_desc>>,
}

/// What sockets of one umem are opened with.
struct Opening<'a> {
    config: &'a Config,
    /// Of the device.
    index: u32,
    umem: Umem,
    /// Queues that frames are received from.
    queues: u32,
    /// Who is to fill in checksums, where it is not we.
    filler: Option<Filler>,
}

/// Who fills in checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filler {
    Card,
    Kernel,
}

impl<'a> Opening<'a> {
    fn new(config: &'a Config, queues: u32) -> Result<Self, Error> {
        let (frames, frame_size) = (config.frames as usize, config.frame_size as usize);
        assert!(frames.is_power_of_two(), "rings have a power of two entries, twice the frames");
        assert!(frame_size.is_power_of_two(), "frames have a power of two bytes");
        let index = interface_index(&config.interface)?;
        let umem = Umem::new((queues as usize + 1) * frames, frame_size);
        let umem = umem.map_err(failed(config, "take memory for"))?;
        let filler = match config.checksum {
            Checksum::Software => None,
            Checksum::Kernel => Some(Filler::Kernel),
            // A kernel that cannot be asked is older than what it is asked for.
            Checksum::Auto => features(index).is_ok_and(|does| does.fills_checksums).then_some(Filler::Card),
            Checksum::Offload => {
                let features = features(index).map_err(|e| no_offload(config, &e))?;
                if !features.fills_checksums {
                    return Err(no_offload(config, &"its driver does not offer it (tx-checksum)"));
                }
                Some(Filler::Card)
            }
        };
        Ok(Self { config, index, umem, queues, filler })
    }

    /// The socket that brings the umem and sends; says whether the card works on our memory itself.
    fn first(&self, receives: bool) -> Result<(Bound, bool), Error> {
        let fd = self.socket()?;
        self.register(fd.as_fd()).map_err(failed(self.config, "register memory (ulimit -l?) for"))?;
        let bound = self.with_rings(fd, 0, receives, true)?;
        let is_zero_copy =
            bind(bound.fd.as_fd(), self.index, self.config).map_err(failed(self.config, "bind"))?;
        if self.config.checksum == Checksum::Offload && !is_zero_copy {
            return Err(no_offload(self.config, &"frames are copied here"));
        }
        Ok((bound, is_zero_copy))
    }

    /// Tells the kernel of our memory, with room for metadata where somebody is to fill in checksums.
    fn register(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let with = |flags, tx_metadata_len| {
            let registration = libc::xdp_umem_reg {
                addr: self.umem.address(),
                len: self.umem.len() as u64,
                chunk_size: self.config.frame_size,
                headroom: 0,
                flags,
                tx_metadata_len,
            };
            set(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)
        };
        let flags = match self.filler {
            None => return with(0, 0),
            Some(Filler::Card) => 0,
            Some(Filler::Kernel) => libc::XDP_UMEM_TX_SW_CSUM,
        };
        match with(flags | libc::XDP_UMEM_TX_METADATA_LEN, METADATA_LEN) {
            // Linux 6.8 to 6.10 have the metadata and not its flag.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => with(flags, METADATA_LEN),
            result => result,
        }
    }

    /// A socket on queue `number` of ours, over the umem that `first` brought.
    fn further(&self, number: u32, first: BorrowedFd<'_>) -> Result<Bound, Error> {
        let bound = self.with_rings(self.socket()?, number, true, false)?;
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            // Whether frames are copied and who is woken is as of the first.
            sxdp_flags: libc::XDP_SHARED_UMEM,
            sxdp_ifindex: self.index,
            sxdp_queue_id: self.config.queue + number,
            sxdp_shared_umem_fd: first.as_raw_fd() as u32,
        };
        patiently(|| bind_to(bound.fd.as_fd(), &address)).map_err(failed(self.config, "bind"))?;
        Ok(bound)
    }

    fn socket(&self) -> Result<OwnedFd, Error> {
        // SAFETY: this call takes no address.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(failed(self.config, "make")(io::Error::last_os_error()));
        }
        // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Makes the rings of the socket of queue `number`, and fills in the frames that it may receive.
    fn with_rings(&self, fd: OwnedFd, number: u32, receives: bool, sends: bool) -> Result<Bound, Error> {
        // Both rings of the umem are wanted for each queue, whatever is done there.
        let mut rings = vec![libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING];
        rings.extend(receives.then_some(libc::XDP_RX_RING));
        rings.extend(sends.then_some(libc::XDP_TX_RING));
        for ring in rings {
            set(fd.as_fd(), libc::SOL_XDP, ring, &self.entries())
                .map_err(failed(self.config, "make a ring for"))?;
        }
        if self.config.busy_poll_budget > 0 {
            busy_poll(fd.as_fd(), self.config.busy_poll_budget).map_err(failed(self.config, "busy-poll"))?;
        }
        let offsets = mmap_offsets(fd.as_fd()).map_err(failed(self.config, "map the rings of"))?;
        let mut fill: Ring<u64> = self.map(&fd, page(libc::XDP_UMEM_PGOFF_FILL_RING), &offsets.fr)?;
        let receive = receives.then(|| self.map(&fd, libc::XDP_PGOFF_RX_RING, &offsets.rx)).transpose()?;
        for frame in self.frames_of(number) {
            assert!(fill.push(frame), "the ring has a place for every frame");
        }
        fill.publish();
        Ok(Bound { fd, fill, receive })
    }

    fn map<E: std::marker::Copy>(
        &self,
        fd: &OwnedFd,
        page: i64,
        offsets: &libc::xdp_ring_offset,
    ) -> Result<Ring<E>, Error> {
        Ring::map(fd.as_fd(), page, parts(offsets), self.entries())
            .map_err(failed(self.config, "map the rings of"))
    }

    fn ring<E: std::marker::Copy>(
        &self,
        of: &Bound,
        page: i64,
        which: fn(&libc::xdp_mmap_offsets) -> &libc::xdp_ring_offset,
    ) -> Result<Ring<E>, Error> {
        let offsets = mmap_offsets(of.fd.as_fd()).map_err(failed(self.config, "map the rings of"))?;
        self.map(&of.fd, page, which(&offsets))
    }

    /// Entries of each ring: twice the frames. The kernel hands a frame over in one ring before it says in the other that it
    /// has taken it there (xsk_flush: the receive ring's producer, then the fill ring's consumer), so that a frame which
    /// goes round at once finds its own entry still standing.
    fn entries(&self) -> u32 {
        2 * self.config.frames
    }

    /// Addresses of the frames of queue `number` of ours.
    fn frames_of(&self, number: u32) -> impl DoubleEndedIterator<Item = u64> + use<> {
        let (frames, frame_size) = (u64::from(self.config.frames), u64::from(self.config.frame_size));
        let first = u64::from(number) * frames;
        (first..first + frames).map(move |frame| frame * frame_size)
    }

    /// Those behind the queues', the first of them last: frames are taken from the end. Where there is metadata they begin
    /// behind it, and the kernel speaks of them by that address.
    fn frames_to_send(&self) -> Vec<u64> {
        let metadata_len = self.filler.map_or(0, |_| u64::from(METADATA_LEN));
        self.frames_of(self.queues).rev().map(|frame| frame + metadata_len).collect()
    }

    fn capabilities(&self, is_zero_copy: bool) -> Result<Capabilities, Error> {
        let slot_len = self.config.frame_size as usize - KERNEL_HEADROOM;
        let mtu = mtu(&self.config.interface)?;
        Ok(Capabilities {
            frame_size_max: slot_len.min(mtu + LINK_LEN),
            fills_checksums: match self.filler {
                None => false,
                // Of what the kernel copies it would do so as of its own; but where its device is a virtual one nobody does.
                Some(Filler::Card) => is_zero_copy,
                Some(Filler::Kernel) => true,
            },
            checks_checksums: false,
            is_zero_copy,
        })
    }
}

fn no_offload(config: &Config, why: &dyn std::fmt::Display) -> Error {
    Error::NoOffload { interface: config.interface.clone(), why: why.to_string() }
}

fn failed(config: &Config, what: &'static str) -> impl Fn(io::Error) -> Error + use<> {
    let interface = config.interface.clone();
    move |source| Error::Socket { what, interface: interface.clone(), source }
}

fn page(offset: u64) -> i64 {
    i64::try_from(offset).expect("a page offset")
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

/// Binds to the first queue, without copying if that is possible and wanted; says whether it is.
fn bind(fd: BorrowedFd<'_>, index: u32, config: &Config) -> io::Result<bool> {
    let attempts: &[(u16, bool)] = match config.copy {
        // Only who copies fills in.
        _ if config.checksum == Checksum::Kernel => &[(libc::XDP_COPY, false)],
        Copy::IfNeeded => &[(libc::XDP_ZEROCOPY, true), (libc::XDP_COPY, false)],
        Copy::Never => &[(libc::XDP_ZEROCOPY, true)],
        Copy::Always => &[(libc::XDP_COPY, false)],
    };
    patiently(|| {
        let mut last = io::Error::from(io::ErrorKind::Unsupported);
        for (flag, is_zero_copy) in attempts {
            let address = libc::sockaddr_xdp {
                sxdp_family: libc::AF_XDP as u16,
                sxdp_flags: flag | libc::XDP_USE_NEED_WAKEUP,
                sxdp_ifindex: index,
                sxdp_queue_id: config.queue,
                sxdp_shared_umem_fd: 0,
            };
            match bind_to(fd, &address) {
                Ok(()) => return Ok(*is_zero_copy),
                Err(error) => last = error,
            }
        }
        Err(last)
    })
}

fn bind_to(fd: BorrowedFd<'_>, address: &libc::sockaddr_xdp) -> io::Result<()> {
    let (at, len) = (std::ptr::from_ref(address).cast(), size_of_val(address) as libc::socklen_t);
    // SAFETY: the address lives until the call is over, and its size is told.
    if unsafe { libc::bind(fd.as_raw_fd(), at, len) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel takes a closed socket off its queue a moment after its process has ended; until then it is busy.
fn patiently<T>(attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    const BUSY_MAX: Duration = Duration::from_secs(5);
    let began = Instant::now();
    loop {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && began.elapsed() < BUSY_MAX => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
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

/// For people: how frames come and go.
#[must_use]
pub fn describe(capabilities: &Capabilities) -> String {
    let copy = if capabilities.is_zero_copy { "zero-copy" } else { "copying" };
    let checksums = if capabilities.fills_checksums { "offloaded" } else { "in software" };
    format!("AF_XDP {copy}, checksums {checksums}")
}

/// Bytes that IP may fill in a frame of a network device.
fn mtu(name: &str) -> Result<usize, Error> {
    let request = ask(name, libc::SIOCGIFMTU)?;
    // SAFETY: the kernel wrote this member.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    usize::try_from(mtu)
        .map_err(|_| Error::NoInterface { name: name.to_owned(), source: io::ErrorKind::InvalidData.into() })
}

/// The address of a network device in Ethernet.
///
/// # Errors
/// [`Error::NoInterface`].
pub fn hardware_address(name: &str) -> Result<[u8; 6], Error> {
    let request = ask(name, libc::SIOCGIFHWADDR)?;
    // SAFETY: the kernel wrote this member.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    Ok(std::array::from_fn(|at| address.sa_data[at] as u8))
}

/// Asks the kernel about a network device.
fn ask(name: &str, what: libc::Ioctl) -> Result<libc::ifreq, Error> {
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
    if unsafe { libc::ioctl(fd.as_raw_fd(), what, &mut request) } < 0 {
        return Err(no_interface(io::Error::last_os_error()));
    }
    Ok(request)
}

impl XdpRx {
    /// The sockets, one for each queue, in their order.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.shared.sockets.iter().map(AsFd::as_fd)
    }

    /// Frames received so far, by each queue, in their order.
    #[must_use]
    pub fn frames(&self) -> Vec<u64> {
        self.queues.iter().map(|queue| queue.frames).collect()
    }

    /// What the kernel counted, of all queues.
    ///
    /// # Errors
    /// [`io::Error`] when it does not say.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let mut sum = Statistics::default();
        for socket in self.sockets() {
            let none = libc::xdp_statistics {
                rx_dropped: 0,
                rx_invalid_descs: 0,
                tx_invalid_descs: 0,
                rx_ring_full: 0,
                rx_fill_ring_empty_descs: 0,
                tx_ring_empty_descs: 0,
            };
            let said = get(socket, libc::XDP_STATISTICS, none)?;
            sum.rx_dropped += said.rx_dropped;
            sum.rx_ring_full += said.rx_ring_full;
            sum.rx_fill_ring_empty += said.rx_fill_ring_empty_descs;
            sum.tx_invalid += said.tx_invalid_descs;
        }
        Ok(sum)
    }
}

/// Has the kernel look into the card's queue, or at the fill ring.
fn wake(socket: &OwnedFd) {
    let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT);
    // SAFETY: nothing is received: the call takes no address.
    unsafe { libc::recvfrom(fd, std::ptr::null_mut(), 0, flags, std::ptr::null_mut(), std::ptr::null_mut()) };
}

impl FrameRx for XdpRx {
    fn receive(&mut self) -> usize {
        let Self { shared, queues, burst, .. } = self;
        if !burst.is_empty() {
            for frame in burst.drain(..) {
                // The frame's own start, whatever the headroom was.
                let start = frame.addr / self.frame_size * self.frame_size;
                let has_room = queues[(start / self.queue_size) as usize].fill.push(start);
                assert!(has_room, "the ring has two places for every frame");
            }
            queues.iter().for_each(|queue| queue.fill.publish());
        }
        for at in 0..queues.len() {
            let at = (self.first + at) % queues.len();
            let queue = &mut queues[at];
            if self.polls_card || queue.fill.needs_wakeup() {
                wake(&shared.sockets[at]);
            }
            let before = burst.len();
            while burst.len() < BURST {
                let Some(frame) = queue.receive.pop() else { break };
                burst.push(frame);
            }
            if burst.len() > before {
                queue.receive.release();
                queue.frames += (burst.len() - before) as u64;
            }
        }
        self.first = (self.first + 1) % queues.len();
        burst.len()
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
    fn new(
        shared: Arc<Shared>,
        transmit: Ring<xdp_desc>,
        completion: Ring<u64>,
        free: Vec<u64>,
        capabilities: &Capabilities,
    ) -> Self {
        let Capabilities { frame_size_max: slot_len, fills_checksums, .. } = *capabilities;
        Self {
            shared,
            transmit,
            completion,
            free,
            slot: None,
            slot_len,
            fills_checksums,
            pushed: false,
            failures: 0,
        }
    }

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
        self.put(len, 0);
    }

    fn commit_unsummed(&mut self, len: usize, unsummed: Unsummed) {
        let Unsummed { start, offset } = unsummed;
        if !self.fills_checksums {
            let slot = self.slot().expect("a slot is taken before it is committed");
            unsummed.fill(&mut slot[..len]);
            return self.put(len, 0);
        }
        assert!(usize::from(start) + usize::from(offset) + 2 <= len, "the checksum is within the frame");
        let frame = self.slot.expect("a slot is taken before it is committed") as usize;
        // SAFETY: these bytes are before a frame that is free, hence neither in the transmit ring nor on its way, and no other
        // slice of them is made.
        let metadata = unsafe { self.shared.umem.bytes_mut(frame - METADATA_LEN as usize..frame) };
        metadata[..8].copy_from_slice(&u64::from(libc::XDP_TXMD_FLAGS_CHECKSUM).to_ne_bytes());
        metadata[8..10].copy_from_slice(&start.to_ne_bytes());
        metadata[10..12].copy_from_slice(&offset.to_ne_bytes());
        self.put(len, libc::XDP_TX_METADATA);
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
    /// Puts the slot into the ring.
    fn put(&mut self, len: usize, options: u32) {
        assert!(len <= self.slot_len, "a frame of {len} bytes fits its slot");
        let addr = self.slot.take().expect("a slot is taken before it is committed");
        let len = u32::try_from(len).expect("frames are short");
        let has_room = self.transmit.push(xdp_desc { addr, len, options });
        assert!(has_room, "the ring has two places for every frame");
        self.pushed = true;
    }

    /// Has the kernel send what is in the transmit ring, if it does not by itself. It takes a part of the
    /// ring in one call, and says EAGAIN when there is more.
    fn send(&mut self) {
        const CALLS_MAX: usize = 64;
        for _ in 0..CALLS_MAX {
            if !self.transmit.needs_wakeup() {
                return;
            }
            let fd = self.shared.sockets[0].as_raw_fd();
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
