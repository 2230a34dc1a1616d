//! One listening port over AF_XDP: the socket, the program that steers the port's frames to it, and the TCP
//! above, as a [`SessionIo`].

use std::net::SocketAddr;

use ironbell_device::{Closed, Nanos, SessionIo};

use crate::Error;
use crate::bpf::{Link, Mode, Program, SocketMap};
use crate::program::{Action, Protocol, Steered, program};
use crate::socket::{self, XdpRx, XdpTx};
use crate::tcp::{self, Connection, Tcp};

/// Sends frames that come in by a device to sockets, as long as it lives.
#[derive(Debug)]
pub struct Steering {
    _link: Link,
    _program: Program,
    _sockets: SocketMap,
    mode: Mode,
}

impl Steering {
    /// Sends what is for `steered` and comes in by the sockets' queues of their device to `rx`; whatever else
    /// comes in goes to the kernel as before.
    ///
    /// # Errors
    /// When bpf(2) is not allowed, or another program is attached.
    pub fn attach(config: &socket::Config, rx: &XdpRx, steered: &[Steered]) -> Result<Self, Error> {
        let sockets = SocketMap::new(config.queue + config.queues)?;
        for (queue, socket) in (config.queue..).zip(rx.sockets()) {
            sockets.set(queue, socket)?;
        }
        let program = Program::load(&program(steered, sockets.number(), Action::Pass))?;
        let index = socket::interface_index(&config.interface)?;
        let (link, mode) = match program.attach(index, Mode::Driver) {
            Ok(link) => (link, Mode::Driver),
            Err(Error::Bpf { source, .. }) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                (program.attach(index, Mode::Generic)?, Mode::Generic)
            }
            Err(error) => return Err(error),
        };
        Ok(Self { _link: link, _program: program, _sockets: sockets, mode })
    }

    /// Where the program runs.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

/// One listening port over AF_XDP.
#[derive(Debug)]
pub struct Bypass {
    // Dropped first: nothing is sent to a socket that is gone.
    steering: Steering,
    tcp: Tcp<XdpRx, XdpTx>,
}

impl Bypass {
    /// Listens on `tcp.listen`, an address of the device that `socket` names. From here on the kernel does not
    /// see frames for that port on that queue.
    ///
    /// # Errors
    /// [`Error`]: what is missing, and what to do about it.
    pub fn listen(socket: &socket::Config, mut tcp: tcp::Config) -> Result<Self, Error> {
        if tcp.listen.ip().is_unspecified() {
            return Err(Error::Unspecified { listen: tcp.listen });
        }
        let device = socket::open(socket)?;
        let longest = device.capabilities.frame_size_max - crate::packet::LINK_LEN_MAX;
        tcp.mtu = tcp.mtu.min(longest);
        let steered = [Steered { protocol: Protocol::Tcp, to: tcp.listen }];
        let steering = Steering::attach(socket, &device.rx, &steered)?;
        Ok(Self { steering, tcp: Tcp::new(tcp, device) })
    }

    /// For people: how frames come and go.
    #[must_use]
    pub fn describe(&self) -> String {
        let mode = match self.steering.mode() {
            Mode::Driver => "in the driver",
            Mode::Generic => "behind the driver",
        };
        format!("{}, steered {mode}", socket::describe(&self.tcp.device().capabilities))
    }

    /// Frames for this port that the kernel had no room for in our rings, since the start.
    #[must_use]
    pub fn frames_dropped(&self) -> u64 {
        let said = self.tcp.device().rx.statistics();
        said.map_or(0, |said| said.rx_dropped + said.rx_ring_full + said.rx_fill_ring_empty)
    }

    /// The stack.
    #[must_use]
    pub fn tcp(&self) -> &Tcp<XdpRx, XdpTx> {
        &self.tcp
    }
}

impl SessionIo for Bypass {
    type Connection = Connection;

    fn poll(&mut self, now: Nanos) -> usize {
        self.tcp.poll(now)
    }

    fn accept(&mut self) -> Result<Option<Connection>, ironbell_device::Error> {
        self.tcp.accept()
    }

    fn has_input(&self, connection: &Connection) -> bool {
        self.tcp.has_input(connection)
    }

    fn read(&mut self, connection: &mut Connection, buffer: &mut [u8]) -> Result<usize, Closed> {
        self.tcp.read(connection, buffer)
    }

    fn write(&mut self, connection: &mut Connection, bytes: &[u8]) -> Result<usize, Closed> {
        self.tcp.write(connection, bytes)
    }

    fn flush(&mut self, now: Nanos) {
        self.tcp.flush(now);
    }

    fn close(&mut self, connection: Connection) {
        self.tcp.close(connection);
    }

    fn local_addr(&self) -> SocketAddr {
        self.tcp.local_addr()
    }
}
