//! The thread that makes connections between the nodes: node 1 listens, node 2 calls.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use ironbell_device::Acceptor as _;
use ironbell_device::kernel::{Connecting, Connection, KernelAcceptor};
use ironbell_runtime::Stop;

use crate::failure::Failure;
use crate::ha::config::Ha;

/// How long one call may take.
const CALL_MAX: Duration = Duration::from_millis(500);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Where connections come from. Node 1 gets one whenever the other calls; node 2 has to [ask](Self::call) for each.
pub struct Caller {
    calls: Sender<()>,
    connections: Receiver<Connection>,
}

impl Caller {
    /// As the configuration has it.
    ///
    /// # Errors
    /// When the address is taken, or there is no thread.
    pub fn of(ha: &Ha, stop: Stop) -> Result<Self, Failure> {
        match (ha.listen, ha.peer) {
            (Some(at), _) => Self::listen(at, stop),
            (None, Some(peer)) => Self::to(peer, stop),
            (None, None) => Err(Failure::refused("[ha] names neither listen nor peer")),
        }
    }

    /// Node 1's.
    ///
    /// # Errors
    /// When the address is taken, or there is no thread.
    pub fn listen(at: SocketAddr, stop: Stop) -> Result<Self, Failure> {
        let mut acceptor =
            KernelAcceptor::bind(at).map_err(|e| Failure::refused(format_args!("ha.listen: {e}")))?;
        Self::start(move |_, connections| {
            while !stop.asked() {
                match acceptor.accept() {
                    Ok(Some(connection)) => {
                        if connections.send(connection).is_err() {
                            return;
                        }
                    }
                    Ok(None) => std::thread::sleep(PAUSE / 4),
                    Err(error) => {
                        tracing::warn!(%error, "the other node cannot connect; trying again");
                        std::thread::sleep(PAUSE);
                    }
                }
            }
        })
    }

    /// Node 2's.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn to(peer: SocketAddr, stop: Stop) -> Result<Self, Failure> {
        Self::start(move |calls, connections| {
            while calls.recv().is_ok() {
                let connection = loop {
                    if stop.asked() {
                        return;
                    }
                    // Also after a link that was refused: it is called again at once.
                    std::thread::sleep(PAUSE);
                    if let Some(connection) = call_once(peer) {
                        break connection;
                    }
                };
                // Calls that were made while this one was under way are answered by it.
                while calls.try_recv().is_ok() {}
                if connections.send(connection).is_err() {
                    return;
                }
            }
        })
    }

    fn start(work: impl FnOnce(Receiver<()>, Sender<Connection>) + Send + 'static) -> Result<Self, Failure> {
        let ((calls, asked), (made, connections)) = (channel(), channel());
        // It ends by itself when this end is dropped, or soon after the node stops.
        std::thread::Builder::new()
            .name("pair".into())
            .spawn(move || work(asked, made))
            .map_err(Failure::no_thread)?;
        Ok(Self { calls, connections })
    }

    /// There is no link: make one.
    pub fn call(&self) {
        // The thread is gone when the node stops; then nobody needs a link.
        let _ = self.calls.send(());
    }

    /// The newest connection, if there is a new one.
    #[must_use]
    pub fn connection(&self) -> Option<Connection> {
        self.connections.try_iter().last()
    }
}

/// A connection, if there is one in time.
fn call_once(peer: SocketAddr) -> Option<Connection> {
    let (begun, mut connecting) = (Instant::now(), Connecting::to(peer).ok()?);
    while begun.elapsed() < CALL_MAX {
        if let Some(connection) = connecting.poll().ok()? {
            return Some(connection);
        }
        std::thread::sleep(PAUSE / 20);
    }
    None
}
