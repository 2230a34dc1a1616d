//! When the kernel, or the network card, had received what a session is about to read: their timestamps beside ours.
//!
//! The kernel tells them with the bytes (SO_TIMESTAMPING), so one byte is looked at before the session reads. Segments
//! that it has put together bear the stamp of the last of them: how late the software was is told too low then, never
//! too high. Stamps are by the system's clock; a card's are of use only where its clock is kept on that one (phc2sys).

use ironbell_types::Nanos;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, TimestampingFlag, Timestamps, recvmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use rustix::time::{ClockId, clock_gettime};
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd as _};

/// A stamp further back than this is by another clock, or the clock was set.
const LATE_MAX: u64 = 10_000_000_000;

/// How long ago the bytes came that a session has not read yet, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Late {
    /// Since the kernel had them.
    pub kernel: Option<Nanos>,
    /// Since the network card had them.
    pub card: Option<Nanos>,
}

/// Reads stamps; the buffer is used again.
#[derive(Debug)]
pub(crate) struct KernelStamps {
    control: Vec<u8>,
}

impl KernelStamps {
    pub(crate) fn new() -> Self {
        Self { control: nix::cmsg_space!(Timestamps) }
    }

    /// Asks the kernel to stamp what `socket` receives.
    pub(crate) fn ask(socket: &impl AsFd) -> std::io::Result<()> {
        let flags = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_RAW_HARDWARE
            | TimestampingFlag::SOF_TIMESTAMPING_RX_HARDWARE;
        setsockopt(socket, sockopt::Timestamping, &flags).map_err(Into::into)
    }

    /// How long ago the oldest bytes came that `socket` holds; `None` when it holds none.
    pub(crate) fn late(&mut self, socket: &impl AsFd) -> Option<Late> {
        let mut byte = [0];
        let mut into = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let fd = socket.as_fd().as_raw_fd();
        let message = recvmsg::<()>(fd, &mut into, Some(&mut self.control), flags).ok()?;
        if message.bytes == 0 {
            return None;
        }
        let mut told = message.cmsgs().ok()?;
        let now = clock_gettime(ClockId::Realtime);
        let now = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
        let since = |stamp: TimeSpec| {
            let at = stamp.tv_sec().cast_unsigned() * 1_000_000_000 + stamp.tv_nsec().cast_unsigned();
            now.checked_sub(at).filter(|late| at > 0 && *late < LATE_MAX).map(Nanos)
        };
        let late = told.find_map(|one| match one {
            ControlMessageOwned::ScmTimestampsns(stamps) => {
                Some(Late { kernel: since(stamps.system), card: since(stamps.hw_raw) })
            }
            _ => None,
        });
        Some(late.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    #[test]
    fn what_lay_in_a_socket_for_a_while_is_told_as_that_late() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        KernelStamps::ask(&receiver).unwrap();
        let mut stamps = KernelStamps::new();
        assert_eq!(stamps.late(&receiver), None, "there is nothing yet");
        // The kernel switches stamping on a little after it is asked to: until then there are none.
        let began = Instant::now();
        let lay = Duration::from_millis(20);
        let late = loop {
            sender.write_all(&[1]).unwrap();
            std::thread::sleep(lay);
            let late = stamps.late(&receiver).expect("a byte is there");
            receiver.read_exact(&mut [0]).unwrap();
            if let Some(late) = late.kernel {
                break late;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "no stamp on loopback");
        };
        assert!(Duration::from_nanos(late.0) >= lay / 2 && late.0 < LATE_MAX, "{late:?}");
        assert_eq!(stamps.late(&receiver), None, "it was read");
    }
}
