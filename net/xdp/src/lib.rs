//! Kernel bypass: frames straight from a network card's queue (AF_XDP), and a TCP of our own above them.
//!
//! From below: [`umem`] is memory that we share with the kernel and the rings in it, [`socket`] an AF_XDP
//! socket on one queue as a [`FrameDevice`](ironbell_device::FrameDevice), [`program`] what the driver runs
//! to tell our frames from others, [`bpf`] how that gets there. Above any FrameDevice: [`packet`] reads the
//! headers of a frame, [`wheel`] keeps the times of thousands of connections, [`isn`] makes initial sequence numbers, [`cookie`] those that stand for memory, and [`tcp`] is a
//! [`SessionIo`](ironbell_device::SessionIo). [`bypass`] puts all of it together for one listening port; [`group`] is multicast out, by frames
//! too; [`neighbour`] asks the kernel where frames to somebody go, [`features`] what a device does for us. [`uring`] is
//! beside all that: kernel sockets on one io_uring, which stands here because it needs unsafe code too.
//!
//! This crate refuses to know what the bytes mean, and reads no clock but to wait for a busy queue at
//! start, or a neighbour: time is a parameter. Unsafe code is in `umem`, `socket`, `bpf` and `uring`
//! alone.
//!
//! Start with [`bypass::Bypass`], then [`tcp::Tcp`].

#![deny(unsafe_code)]

use std::io;

#[expect(unsafe_code, reason = "a system call that libc does not wrap")]
pub mod bpf;
pub mod bypass;
pub mod cookie;
pub mod features;
pub mod group;
pub mod isn;
pub mod neighbour;
pub mod packet;
pub mod program;
#[expect(unsafe_code, reason = "system calls of AF_XDP, and frames lent from shared memory")]
pub mod socket;
pub mod tcp;
#[expect(unsafe_code, reason = "memory that is shared with the kernel")]
pub mod umem;
#[expect(unsafe_code, reason = "io_uring, and buffers that are shared with it")]
pub mod uring;
pub mod wheel;

/// What the world did to us before a frame was moved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such network device.
    #[error("no network device {name}: {source}; `ip link` lists them")]
    NoInterface {
        /// The name asked for.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// An AF_XDP socket cannot be had.
    #[error("cannot {what} an AF_XDP socket on {interface}: {source}{}", socket_advice(.source))]
    Socket {
        /// What was tried.
        what: &'static str,
        /// The network device.
        interface: String,
        /// What the system said.
        source: io::Error,
    },
    /// The card is to fill in checksums and does not.
    #[error("{interface} fills in no checksums of what AF_XDP sends: {why}; choose checksum = \"auto\"")]
    NoOffload {
        /// The network device.
        interface: String,
        /// Why not.
        why: String,
    },
    /// bpf(2) does not do what it is asked for.
    #[error("cannot {what}: {source}{}", bpf_advice(.source))]
    Bpf {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The listening address names no one host.
    #[error(
        "{listen} cannot be listened on over xdp: frames are told apart by their address; name the device's own"
    )]
    Unspecified {
        /// The address asked for.
        listen: std::net::SocketAddr,
    },
    /// Nobody knows where frames for a host go.
    #[error("cannot send frames to {to} by {interface}: {source}")]
    Neighbour {
        /// The host.
        to: std::net::IpAddr,
        /// The network device.
        interface: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is no io_uring.
    #[error("cannot {what} an io_uring: {source}{}", ring_advice(.source))]
    Ring {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel does not let the steering program in. This is a fault of ours.
    #[error("the kernel's verifier refuses the steering program: {log}")]
    Verifier {
        /// What it said.
        log: String,
    },
}

fn socket_advice(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "; grant CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF, or choose io = \"kernel\""
        }
        Some(libc::ENOBUFS | libc::ENOMEM) => "; raise the limit of locked memory (ulimit -l)",
        Some(libc::EBUSY) => "; another socket has this queue: stop its process or choose another queue",
        Some(libc::EINVAL) => "; the device has no such queue (`ethtool -l`)",
        Some(libc::EAFNOSUPPORT) => "; this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)",
        Some(libc::EOPNOTSUPP) => "; its driver cannot do without copying: choose copy = \"if-needed\"",
        _ => "",
    }
}

fn ring_advice(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EINVAL) => "; it takes Linux 6.1 or newer, or choose io = \"kernel\"",
        Some(libc::EPERM) => "; sysctl kernel.io_uring_disabled forbids it, or choose io = \"kernel\"",
        Some(libc::ENOMEM) => "; raise the limit of locked memory (ulimit -l)",
        _ => "",
    }
}

fn bpf_advice(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; grant CAP_BPF and CAP_NET_ADMIN, or choose io = \"kernel\"",
        Some(libc::EBUSY) => "; another program is attached to the device (`ip link` shows it as prog/xdp)",
        Some(libc::EOPNOTSUPP) => "; its driver runs no such programs",
        Some(libc::ENOSYS) => "; this kernel has no bpf(2)",
        _ => "",
    }
}

#[cfg(test)]
#[path = "../tests/draws/mod.rs"]
mod draws;
