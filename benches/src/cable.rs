//! A venue and its members at the two ends of a cable, on one machine: each end in a network namespace of its own, so
//! that the kernel takes no short cut between them.
//!
//! The cable is a pair of virtual Ethernet devices, or a real one between two ports that are lent for as long. It takes
//! root. The venue's end is with the thread that lays the cable, and with the processes that it starts; the members' end is
//! with a thread that runs what it is given. Namespaces and virtual devices go with their threads, however these end;
//! ports of real cards the kernel then takes back, without their addresses.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Why there is no cable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This thread may not have a namespace of its own.
    #[error("no network namespace: {0}; run as root (CAP_SYS_ADMIN, CAP_NET_ADMIN)")]
    Namespace(io::Error),
    /// A tool is missing.
    #[error("{program}: {source}; install iproute2 and ethtool")]
    NoTool {
        /// Which.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A tool refused.
    #[error("`{command}`: {said}")]
    Tool {
        /// What it was asked.
        command: String,
        /// What it said.
        said: String,
    },
    /// The two ports hear nothing of each other.
    #[error("{port} has no carrier after {LINK_UP_MAX:?}; see that a cable connects both ports")]
    NoCarrier {
        /// One of them.
        port: String,
    },
}

/// Two ports of this machine that a cable connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The venue's.
    pub venue: String,
    /// The members'.
    pub member: String,
}

/// How long a real port may take to find its peer.
const LINK_UP_MAX: Duration = Duration::from_secs(15);

type Job = Box<dyn FnOnce() + Send>;

/// A cable, laid by the thread that holds it.
#[derive(Debug)]
pub struct Cable {
    ports: Ports,
    is_lent: bool,
    /// Where the thread that laid it came from, and where it is now.
    home: File,
    venue: File,
    members: Option<(Sender<Job>, JoinHandle<()>)>,
    /// A thread's namespace is its own.
    _of_one_thread: PhantomData<*const ()>,
}

impl Cable {
    /// The venue's address; the members' kernel finds it.
    pub const VENUE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    /// The members' address.
    pub const MEMBER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    /// Lays a cable between two namespaces, the first of which this thread is in until the cable is dropped. `ports` are
    /// real ones; without them it makes virtual ones. The members' port writes checksums itself: who reads frames
    /// without the venue's kernel wants them right.
    ///
    /// # Errors
    /// [`Error`].
    pub fn lay(ports: Option<&Ports>) -> Result<Self, Error> {
        let is_lent = ports.is_some();
        let ports = ports
            .cloned()
            .unwrap_or_else(|| Ports { venue: "venue0".to_owned(), member: "member0".to_owned() });
        let (jobs, to_do) = channel::<Job>();
        let (tell, told) = channel();
        let thread = std::thread::Builder::new().name("members".to_owned()).spawn(move || {
            let _ = tell.send(leave_for_a_new_namespace());
            to_do.into_iter().for_each(|job| job());
        });
        let thread = thread.map_err(Error::Namespace)?;
        let theirs = told.recv().map_err(|e| Error::Namespace(io::Error::other(e)))??;
        let home = namespace().map_err(Error::Namespace)?;
        let ours = leave_for_a_new_namespace()?;
        // From here on dropping it takes everything back.
        let members = Some((jobs, thread));
        let cable = Self { ports, is_lent, home, venue: ours, members, _of_one_thread: PhantomData };
        let Ports { venue, member } = &cable.ports;
        if is_lent {
            go(&cable.home)?;
            ip(&format!("link set {venue} netns {}", path(&cable.venue)))?;
            ip(&format!("link set {member} netns {}", path(&theirs)))?;
            go(&cable.venue)?;
        } else {
            ip(&format!("link add {venue} type veth peer name {member} netns {}", path(&theirs)))?;
        }
        bring_up(venue, Self::VENUE)?;
        let port = member.clone();
        cable.members(move || {
            bring_up(&port, Self::MEMBER)?;
            run("ethtool", &format!("-K {port} tx off"))
        })?;
        wait_for_carrier(venue)?;
        Ok(cable)
    }

    /// The venue's network device.
    #[must_use]
    pub fn venue_port(&self) -> &str {
        &self.ports.venue
    }

    /// The members' network device.
    #[must_use]
    pub fn member_port(&self) -> &str {
        &self.ports.member
    }

    /// Runs `job` at the members' end, and waits for it.
    ///
    /// # Panics
    /// When the job does.
    pub fn members<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let (jobs, _) = self.members.as_ref().expect("there until dropped");
        let job: Job = Box::new(move || {
            let _ = done.send(job());
        });
        jobs.send(job).expect("the members' thread waits for jobs");
        result.recv().expect("the job does not panic")
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        if self.is_lent {
            // Where this fails the kernel does it, for ports of real cards, when the namespaces end.
            let home = path(&self.home);
            let _ = go(&self.venue);
            let _ = ip(&format!("link set {} netns {home}", self.ports.venue));
            let (port, of) = (self.ports.member.clone(), home);
            let _ = self.members(move || ip(&format!("link set {port} netns {of}")));
        }
        if let Some((jobs, thread)) = self.members.take() {
            drop(jobs);
            let _ = thread.join();
        }
        let _ = go(&self.home);
    }
}

/// Frames that a network device of this thread's namespace has received since it was made.
///
/// # Errors
/// When there is no such device.
pub fn frames_received(port: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(port)?.strip_prefix(':'));
    // Bytes, then frames.
    let frames = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    frames.ok_or_else(|| io::Error::other(format!("{port} is not in /proc/net/dev")))
}

fn leave_for_a_new_namespace() -> Result<File, Error> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| Error::Namespace(e.into()))?;
    namespace().map_err(Error::Namespace)
}

/// The one this thread is in.
fn namespace() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

fn go(namespace: &File) -> Result<(), Error> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| Error::Namespace(e.into()))
}

/// As `ip` takes it.
fn path(namespace: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd())
}

fn bring_up(port: &str, address: Ipv4Addr) -> Result<(), Error> {
    ip("link set lo up")?;
    ip(&format!("addr add {address}/24 dev {port}"))?;
    ip(&format!("link set {port} up"))
}

fn wait_for_carrier(port: &str) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        if output("ip", &format!("-o link show dev {port}"))?.contains("LOWER_UP") {
            return Ok(());
        }
        if began.elapsed() > LINK_UP_MAX {
            return Err(Error::NoCarrier { port: port.to_owned() });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ip(arguments: &str) -> Result<(), Error> {
    run("ip", arguments)
}

fn run(program: &'static str, arguments: &str) -> Result<(), Error> {
    output(program, arguments).map(drop)
}

fn output(program: &'static str, arguments: &str) -> Result<String, Error> {
    let output = Command::new(program).args(arguments.split_whitespace()).output();
    let output = output.map_err(|source| Error::NoTool { program, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Tool { command: format!("{program} {arguments}"), said })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    /// A byte there, and the frames of it counted.
    fn send_a_byte(cable: &Cable) {
        let listener = TcpListener::bind((Cable::VENUE, 0)).expect("the venue's address is here");
        let port = listener.local_addr().expect("it is bound").port();
        let device = cable.member_port().to_owned();
        let before = cable.members({
            let device = device.clone();
            move || frames_received(&device).expect("its device")
        });
        let (sent, frames) = {
            let thread = std::thread::spawn(move || {
                let mut byte = [0];
                listener.accept().and_then(|(mut stream, _)| stream.read_exact(&mut byte).map(|()| byte[0]))
            });
            let frames = cable.members(move || {
                let mut stream = TcpStream::connect((Cable::VENUE, port)).expect("the venue is there");
                stream.write_all(&[7]).expect("it is taken");
                frames_received(&device).expect("its device")
            });
            (thread.join().expect("it does not panic").expect("a byte came"), frames)
        };
        assert_eq!(sent, 7);
        assert!(frames > before, "the venue's SYN-ACK came by the cable");
    }

    #[test]
    fn cable_of_virtual_devices_connects_two_namespaces_and_goes() {
        let home = std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
        let cable = Cable::lay(None).unwrap_or_else(|e| panic!("{e}"));
        assert_ne!(std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace"), home);
        send_a_byte(&cable);
        drop(cable);
        assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace"), home);
        assert!(frames_received("venue0").is_err(), "nothing of it is left here");
    }

    #[test]
    fn cable_between_lent_ports_gives_them_back() {
        // Two virtual devices play the ports; they stand in a namespace of this test's own.
        leave_for_a_new_namespace().unwrap_or_else(|e| panic!("{e}"));
        ip("link add left type veth peer name right").unwrap_or_else(|e| panic!("{e}"));
        let ports = Ports { venue: "left".to_owned(), member: "right".to_owned() };
        let cable = Cable::lay(Some(&ports)).unwrap_or_else(|e| panic!("{e}"));
        send_a_byte(&cable);
        drop(cable);
        assert!(frames_received("left").is_ok() && frames_received("right").is_ok(), "both are back");
        let ports = Ports { venue: "left".to_owned(), member: "nowhere".to_owned() };
        let error = Cable::lay(Some(&ports)).expect_err("there is no such port").to_string();
        assert!(error.contains("nowhere"), "{error}");
        assert!(frames_received("left").is_ok(), "the other one is back");
    }
}
