//! A real etcd cluster for tests: its members on loopback addresses, or others, of their own; killed, frozen and thawed by
//! process id; gone when the value is dropped, and with the process that started them.
//!
//! The program is Debian's `etcd` (package `etcd-server`, brought in by `tests/setup.sh`).

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;

/// How long a member may take to listen.
const START: Duration = Duration::from_secs(60);

/// How the members speak to each other.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between heartbeats of their leader, in milliseconds.
    pub heartbeat_ms: u32,
    /// Without one before another is elected, in milliseconds; etcd wants five heartbeats at least.
    pub election_ms: u32,
}

/// What keeps the wait for a new leader short where the disk and the cores are shared.
impl Default for Timing {
    fn default() -> Self {
        Self { heartbeat_ms: 50, election_ms: 500 }
    }
}

/// A cluster that runs.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    address: IpAddr,
    arguments: Vec<String>,
    namespace: Option<String>,
    child: Option<Child>,
}

impl Cluster {
    /// Three members on loopback addresses that no other test of this machine has: 127.x.y.z by process and number.
    ///
    /// # Panics
    /// When etcd is not there or does not start; its last words are in the message.
    #[must_use]
    pub fn start() -> Self {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let address =
            |nth: u8| IpAddr::V4(Ipv4Addr::new(127, 64 | (pid >> 8) as u8 & 63, pid as u8, number * 4 + nth));
        let places: Vec<_> = (1..=3).map(|nth| (address(nth), None)).collect();
        Self::at(&places, Timing::default())
    }

    /// A member at each of these addresses, within the network namespace of that name (`ip netns`) if there is one. Returns
    /// when all of them listen.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn at(places: &[(IpAddr, Option<String>)], timing: Timing) -> Self {
        let dir = std::env::temp_dir().join(format!("ironbell-etcd-{}-{}", std::process::id(), places[0].0));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let url = |address: &IpAddr, port| format!("http://{}", SocketAddr::new(*address, port));
        let all: Vec<_> = places
            .iter()
            .enumerate()
            .map(|(nth, (address, _))| format!("m{nth}={}", url(address, PEERS)))
            .collect();
        let member = |(nth, (address, namespace)): (usize, &(IpAddr, Option<String>))| Member {
            address: *address,
            arguments: [
                ("name", format!("m{nth}")),
                ("data-dir", dir.join(format!("m{nth}")).display().to_string()),
                ("listen-client-urls", url(address, CLIENTS)),
                ("advertise-client-urls", url(address, CLIENTS)),
                ("listen-peer-urls", url(address, PEERS)),
                ("initial-advertise-peer-urls", url(address, PEERS)),
                ("initial-cluster", all.join(",")),
                ("initial-cluster-state", "new".into()),
                ("heartbeat-interval", timing.heartbeat_ms.to_string()),
                ("election-timeout", timing.election_ms.to_string()),
            ]
            .map(|(name, value)| format!("--{name}={value}"))
            .to_vec(),
            namespace: namespace.clone(),
            child: None,
        };
        let members = places.iter().enumerate().map(member).collect();
        let mut cluster = Self { dir, members };
        for nth in 0..cluster.members.len() {
            cluster.spawn(nth);
        }
        (0..cluster.members.len()).for_each(|nth| cluster.wait(nth));
        cluster
    }

    /// The members' client URLs.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let url = |member: &Member| format!("http://{}", SocketAddr::new(member.address, CLIENTS));
        self.members.iter().map(url).collect()
    }

    /// The process of a member, from 0; `None` when it was killed.
    #[must_use]
    pub fn pid(&self, nth: usize) -> Option<u32> {
        self.members[nth].child.as_ref().map(Child::id)
    }

    /// Kills a member where it stands: SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self, nth: usize) {
        let mut child = self.members[nth].child.take().expect("it runs");
        child.kill().and_then(|()| child.wait()).expect("it is ours");
    }

    /// Starts a killed member again, on what it had on disk; returns when it listens.
    ///
    /// # Panics
    /// When it runs, or does not start.
    pub fn restart(&mut self, nth: usize) {
        assert!(self.members[nth].child.is_none(), "it runs");
        self.spawn(nth);
        self.wait(nth);
    }

    /// Stops a member in the midst of whatever it does: SIGSTOP. Its sockets stay open, and nobody answers.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self, nth: usize) {
        self.signal(nth, Signal::STOP);
    }

    /// Lets a frozen member go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self, nth: usize) {
        self.signal(nth, Signal::CONT);
    }

    fn signal(&self, nth: usize, signal: Signal) {
        let pid = self.pid(nth).and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("it runs");
        kill_process(pid, signal).expect("it is ours");
    }

    fn spawn(&mut self, nth: usize) {
        let log = self.log(nth);
        let member = &mut self.members[nth];
        let log = File::options().create(true).append(true).open(&log).expect("the directory is ours");
        // In a namespace the program runs below `ip`, which becomes it by exec.
        let mut command = match &member.namespace {
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, "setpriv"]);
                command
            }
            None => Command::new("setpriv"),
        };
        // Whoever started it takes it along, however it ends.
        command.args(["--pdeathsig", "KILL", "etcd"]).args(&member.arguments);
        let output = log.try_clone().expect("it is open");
        command.stdin(Stdio::null()).stdout(output).stderr(log);
        let spawned = command.spawn();
        member.child = Some(spawned.unwrap_or_else(|error| panic!("cannot run setpriv: {error}")));
    }

    /// Waits until a member listens.
    fn wait(&mut self, nth: usize) {
        let end = Instant::now() + START;
        let log = self.log(nth);
        let member = &mut self.members[nth];
        let address = SocketAddr::new(member.address, CLIENTS);
        loop {
            let child = member.child.as_mut().expect("it was started");
            let ended = child.try_wait().expect("it is ours");
            let listens = match &member.namespace {
                // This process is in another namespace; whoever asks etcd waits with a deadline of its own.
                Some(_) => true,
                None => TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok(),
            };
            match ended {
                None if listens => return,
                None if Instant::now() < end => thread::sleep(Duration::from_millis(20)),
                _ => panic!(
                    "etcd does not listen at {address} ({}); install it with tests/setup.sh. Its last words:\n{}",
                    ended.map_or("it runs".to_owned(), |status| status.to_string()),
                    last_words(&log)
                ),
            }
        }
    }

    fn log(&self, nth: usize) -> PathBuf {
        self.dir.join(format!("m{nth}.log"))
    }
}

fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_else(|error: io::Error| error.to_string());
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(mut child) = member.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}
