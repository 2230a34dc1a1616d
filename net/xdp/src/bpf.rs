//! bpf(2), as far as it is needed: a map of sockets, a program, its trial on a frame, and the link that
//! attaches it to a network device for as long as we live.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::Error;
use crate::program::Instruction;

// Commands and constants of `linux/bpf.h`.
const MAP_CREATE: c_int = 0;
const MAP_UPDATE_ELEM: c_int = 2;
const PROG_LOAD: c_int = 5;
const PROG_TEST_RUN: c_int = 10;
const LINK_CREATE: c_int = 28;
const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
/// Of `linux/if_link.h`: in the driver, or, where that has no support, in the kernel behind it.
const FLAGS_SKB_MODE: u32 = 1 << 1;
const FLAGS_DRV_MODE: u32 = 1 << 2;

/// `union bpf_attr` as `MAP_CREATE` reads it; what is not said is zero in all of these.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[repr(C)]
struct MapUpdate {
    map_fd: u32,
    _padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

#[repr(C)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// Calls bpf(2).
///
/// # Safety
/// `attributes` is what `command` reads, and every address in it points to memory of the size that it
/// says, which the kernel may read, and write where the command does.
unsafe fn bpf<T>(command: c_int, attributes: &mut T) -> io::Result<c_int> {
    // SAFETY: the caller vouches for what the attributes point to; they themselves are ours and live.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as c_int) }
}

fn owned(fd: c_int) -> OwnedFd {
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn address<T>(of: &[T]) -> u64 {
    of.as_ptr() as u64
}

/// Which socket takes the frames of which queue (`BPF_MAP_TYPE_XSKMAP`).
#[derive(Debug)]
pub struct SocketMap(OwnedFd);

impl SocketMap {
    /// A map for queues 0 to `queues` - 1.
    ///
    /// # Errors
    /// [`Error::Bpf`].
    pub fn new(queues: u32) -> Result<Self, Error> {
        let mut attributes =
            MapCreate { map_type: MAP_TYPE_XSKMAP, key_size: 4, value_size: 4, max_entries: queues };
        // SAFETY: the attributes hold no address.
        let fd = unsafe { bpf(MAP_CREATE, &mut attributes) };
        fd.map(|fd| Self(owned(fd)))
            .map_err(|source| Error::Bpf { what: "create the map of sockets", source })
    }

    /// From here on `socket` takes the frames that come in by `queue`.
    ///
    /// # Errors
    /// [`Error::Bpf`].
    pub fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Error> {
        let (key, value) = ([queue], [socket.as_raw_fd()]);
        let mut attributes = MapUpdate {
            map_fd: self.number() as u32,
            _padding: 0,
            key: address(&key),
            value: address(&value),
            flags: 0,
        };
        // SAFETY: key and value are of four bytes each, as the map was made, and live until the call is over.
        let done = unsafe { bpf(MAP_UPDATE_ELEM, &mut attributes) };
        done.map(drop).map_err(|source| Error::Bpf { what: "put a socket into the map", source })
    }

    /// Its descriptor, for [`crate::program::program`].
    #[must_use]
    pub fn number(&self) -> c_int {
        self.0.as_raw_fd()
    }
}

/// A program that the kernel has checked and taken.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// Has the kernel check and take `code`.
    ///
    /// # Errors
    /// [`Error::Verifier`] with the kernel's words when it does not let the program in; [`Error::Bpf`] when
    /// it does not even look.
    pub fn load(code: &[Instruction]) -> Result<Self, Error> {
        let attributes = |log: &mut [u8]| ProgLoad {
            prog_type: PROG_TYPE_XDP,
            insn_cnt: u32::try_from(code.len()).expect("programs are short"),
            insns: address(code),
            license: address(b"Dual MIT/GPL\0"),
            log_level: u32::from(!log.is_empty()),
            log_size: log.len() as u32,
            log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        };
        // SAFETY: instructions and licence live until the call is over, and there is no log.
        let source = match unsafe { bpf(PROG_LOAD, &mut attributes(&mut [])) } {
            Ok(fd) => return Ok(Self(owned(fd))),
            Err(source) => source,
        };
        let mut log = vec![0; 1 << 16];
        // SAFETY: as above; the log is written within its size.
        match unsafe { bpf(PROG_LOAD, &mut attributes(&mut log)) } {
            Ok(fd) => Ok(Self(owned(fd))),
            Err(_) if log[0] == 0 => Err(Error::Bpf { what: "load the steering program", source }),
            Err(_) => {
                let len = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
                Err(Error::Verifier { log: String::from_utf8_lossy(&log[..len]).into_owned() })
            }
        }
    }

    /// What the program says to `frame`, without a network device: a number of [`crate::program::Action`].
    ///
    /// # Errors
    /// [`Error::Bpf`], also for frames shorter than an Ethernet header, which the kernel does not try.
    pub fn try_on(&self, frame: &[u8]) -> Result<u32, Error> {
        let mut attributes = TestRun {
            prog_fd: self.0.as_raw_fd() as u32,
            retval: 0,
            data_size_in: u32::try_from(frame.len()).expect("frames are short"),
            data_size_out: 0,
            data_in: address(frame),
            data_out: 0,
            repeat: 1,
            duration: 0,
        };
        // SAFETY: the frame lives until the call is over, and no room for output is offered.
        unsafe { bpf(PROG_TEST_RUN, &mut attributes) }
            .map(|_| attributes.retval)
            .map_err(|source| Error::Bpf { what: "try the steering program on a frame", source })
    }

    /// Attaches the program to a network device, in its driver if that supports it. It is taken off when the
    /// link is dropped, however the process ends.
    ///
    /// # Errors
    /// [`Error::Bpf`], among others when another program is attached already.
    pub fn attach(&self, interface_index: u32, mode: Mode) -> Result<Link, Error> {
        let flags = match mode {
            Mode::Driver => FLAGS_DRV_MODE,
            Mode::Generic => FLAGS_SKB_MODE,
        };
        let mut attributes = LinkCreate {
            prog_fd: self.0.as_raw_fd() as u32,
            target_ifindex: interface_index,
            attach_type: ATTACH_XDP,
            flags,
        };
        // SAFETY: the attributes hold no address.
        let fd = unsafe { bpf(LINK_CREATE, &mut attributes) };
        fd.map(|fd| Link { _fd: owned(fd) }).map_err(|source| Error::Bpf {
            what: "attach the steering program to the network device",
            source,
        })
    }
}

/// Where a program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel has made anything of a frame.
    #[default]
    Driver,
    /// Behind the driver: slower, for any device.
    Generic,
}

/// Keeps a program attached.
#[derive(Debug)]
pub struct Link {
    _fd: OwnedFd,
}
