//! When the kernel, or the network card, had received what is read: timestamps that the kernel hands over with the bytes
//! (SO_TIMESTAMPING).
//!
//! Segments that the kernel has put together bear the stamp of the last of them: how late the software is, is told too low
//! then, never too high. Stamps are by the system's clock; a card's are of use only where its clock is kept on that
//! one (phc2sys).

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, TimestampingFlag, Timestamps, recvmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use rustix::time::{ClockId, clock_gettime};

use crate::{Late, Nanos};

/// A stamp further back than this is by another clock, or the clock was set.
const LATE_MAX: u64 = 10_000_000_000;

/// Reads a socket with its stamps. All memory is taken when it is made.
#[derive(Debug)]
pub(crate) struct Stamps {
    control: Vec<u8>,
    late: Option<Late>,
}

impl Stamps {
    pub(crate) fn new() -> Self {
        Self { control: nix::cmsg_space!(Timestamps), late: None }
    }

    /// Asks the kernel to stamp what `socket`, or a socket that it accepts, receives; the card too, where it can.
    pub(crate) fn ask(socket: &impl AsFd) -> io::Result<()> {
        let flags = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_RAW_HARDWARE
            | TimestampingFlag::SOF_TIMESTAMPING_RX_HARDWARE;
        setsockopt(socket, sockopt::Timestamping, &flags).map_err(Into::into)
    }

    /// Reads what is there; notes how late that is.
    pub(crate) fn read(&mut self, socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
        self.late = None;
        let mut into = [IoSliceMut::new(buffer)];
        let fd = socket.as_fd().as_raw_fd();
        let message = recvmsg::<()>(fd, &mut into, Some(&mut self.control), MsgFlags::MSG_DONTWAIT)?;
        let count = message.bytes;
        if count > 0
            && let Ok(mut told) = message.cmsgs()
        {
            let now = clock_gettime(ClockId::Realtime);
            let now = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
            self.late = told.find_map(|one| match one {
                ControlMessageOwned::ScmTimestampsns(stamps) => {
                    Some(Late { kernel: since(stamps.system, now), card: since(stamps.hw_raw, now) })
                }
                _ => None,
            });
        }
        Ok(count)
    }

    /// Of what was read last; `None` when the kernel did not stamp it: it begins to a little after it was asked.
    pub(crate) fn late(&self) -> Option<Late> {
        self.late
    }
}

fn since(stamp: TimeSpec, now: u64) -> Option<Nanos> {
    let at = stamp.tv_sec().cast_unsigned() * 1_000_000_000 + stamp.tv_nsec().cast_unsigned();
    now.checked_sub(at).filter(|late| at > 0 && *late < LATE_MAX).map(Nanos)
}
