//! `ironbell bench echo`: what comes in by the way that members come in by, sent back as it came. What a node takes is set
//! against it: the same sockets, the same thread, the same idle strategy, and nothing between them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ironbell_device::SessionIo;
use ironbell_runtime::{Role, Stop, ThreadPlan};
use ironbell_types::Nanos;

use crate::config::Config;
use crate::door::Door;
use crate::failure::Failure;
use crate::load::say;
use crate::{topology, trial};

/// Arguments of `ironbell bench echo`.
#[derive(Args)]
pub struct Options {
    /// A node's configuration: the echo listens and polls as its order entry does. No data directory is used.
    #[arg(long, value_name = "FILE", default_value = "node.toml")]
    config: PathBuf,
    /// The process that this one must not outlive: a trial's.
    #[arg(long, value_name = "PID", hide = true)]
    trial_of: Option<u32>,
}

/// Until it is killed.
///
/// # Errors
/// When it cannot listen.
pub fn run(options: &Options) -> Result<(), Failure> {
    options.trial_of.map_or(Ok(()), trial::end_with)?;
    serve(&options.config)
}

fn serve(config: &Path) -> Result<(), Failure> {
    let config = Config::read(config)?;
    let door = Door::open(&config.order_entry)?;
    let addr = door.local_addr();
    let threads = topology::threads(&config.placement, &topology::allowed(), config.shards.count);
    let plan = ThreadPlan {
        name: "echo".to_owned(),
        // Where the node has its gateway.
        cpu: threads[0].cpu,
        idle: topology::idle(&config.placement),
        roles: vec![Box::new(Echo::new(door))],
        metrics: None,
    };
    let thread = plan.start(Stop::default()).map_err(Failure::no_thread)?;
    say(&format!("ready: echo on {addr}\n"));
    thread.join().map(drop).map_err(|_| Failure::check("the echo panicked"))
}

/// Sends everything back, on all connections.
struct Echo<I: SessionIo> {
    io: I,
    connections: Vec<Connection<I::Connection>>,
    buffer: Vec<u8>,
}

struct Connection<C> {
    stream: C,
    /// What was read and could not be written yet.
    rest: Vec<u8>,
}

/// Bytes read at once.
const READ_SIZE: usize = 16 << 10;

impl<I: SessionIo> Echo<I> {
    fn new(io: I) -> Self {
        Self { io, connections: Vec::new(), buffer: vec![0; READ_SIZE] }
    }

    fn accept(&mut self) -> usize {
        let mut count = 0;
        // What the system has no room for comes again.
        while let Ok(Some(stream)) = self.io.accept() {
            self.connections.push(Connection { stream, rest: Vec::with_capacity(READ_SIZE) });
            count += 1;
        }
        count
    }

    /// One connection: what is left from before, then what has come. `None`: it is over.
    fn echo(io: &mut I, connection: &mut Connection<I::Connection>, buffer: &mut [u8]) -> Option<usize> {
        let Connection { stream, rest } = connection;
        if rest.is_empty() {
            let count = io.read(stream, buffer).ok()?;
            let wrote = if count == 0 { 0 } else { io.write(stream, &buffer[..count]).ok()? };
            rest.extend_from_slice(&buffer[wrote..count]);
            return Some(count);
        }
        let wrote = io.write(stream, rest).ok()?;
        rest.drain(..wrote);
        Some(wrote)
    }
}

impl<I: SessionIo<Connection: Send> + Send> Role for Echo<I> {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn poll(&mut self, now: Nanos) -> usize {
        let mut work = self.io.poll(now) + self.accept();
        self.io.look(self.connections.len());
        let mut at = 0;
        while let Some(connection) = self.connections.get_mut(at) {
            if connection.rest.is_empty() && !self.io.has_input(&connection.stream) {
                at += 1;
                continue;
            }
            match Self::echo(&mut self.io, connection, &mut self.buffer) {
                Some(count) => {
                    work += count;
                    at += 1;
                }
                None => {
                    let gone = self.connections.swap_remove(at);
                    self.io.close(gone.stream);
                }
            }
        }
        self.io.flush(now);
        work
    }

    fn wait(&mut self, at_most: Duration) -> bool {
        self.io.wait(at_most)
    }
}

#[cfg(test)]
mod tests {
    use ironbell_device::Stream as _;
    use ironbell_device::mem;

    use super::*;

    #[test]
    fn everything_comes_back_however_little_room_there_is() {
        let (acceptor, dialer) = mem::network(100);
        let mut echo = Echo::new(acceptor);
        let mut member = dialer.connect();
        let sent: Vec<u8> = (0..5_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let (mut wrote, mut heard) = (0, Vec::new());
        for _ in 0..10_000 {
            wrote += member.write(&sent[wrote..]).expect("it stands");
            echo.poll(Nanos(1));
            // Slower than the echo: it finds no room now and then.
            let mut buffer = [0; 40];
            let count = member.read(&mut buffer).expect("it stands");
            heard.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(heard, sent);
        drop(member);
        echo.poll(Nanos(1));
        assert!(echo.connections.is_empty(), "who is gone is let go");
    }
}
