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
    scheme: &'static str,
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
        Self::launch(&Self::loopback(), Timing::default(), false)
    }

    /// The same, whose clients must show a certificate, over TLS; see [`certificates`](Self::certificates).
    ///
    /// # Panics
    /// As [`start`](Self::start), and when there is no `openssl`.
    #[must_use]
    pub fn secured() -> Self {
        Self::launch(&Self::loopback(), Timing::default(), true)
    }

    fn loopback() -> Vec<(IpAddr, Option<String>)> {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let address =
            |nth: u8| IpAddr::V4(Ipv4Addr::new(127, 64 | (pid >> 8) as u8 & 63, pid as u8, number * 4 + nth));
        (1..=3).map(|nth| (address(nth), None)).collect()
    }

    /// A member at each of these addresses, within the network namespace of that name (`ip netns`) if there is one. Returns
    /// when all of them listen.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn at(places: &[(IpAddr, Option<String>)], timing: Timing) -> Self {
        Self::launch(places, timing, false)
    }

    fn launch(places: &[(IpAddr, Option<String>)], timing: Timing, secured: bool) -> Self {
        let dir = std::env::temp_dir().join(format!("ironbell-etcd-{}-{}", std::process::id(), places[0].0));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let scheme = if secured { "https" } else { "http" };
        if secured {
            certify(&dir, places);
        }
        let url = |address: &IpAddr, port| format!("http://{}", SocketAddr::new(*address, port));
        let clients = |address: &IpAddr| format!("{scheme}://{}", SocketAddr::new(*address, CLIENTS));
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
                ("listen-client-urls", clients(address)),
                ("advertise-client-urls", clients(address)),
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
        let mut members: Vec<_> = places.iter().enumerate().map(member).collect();
        if secured {
            let file = |name: &str| dir.join(name).display().to_string();
            let (certificate, key) = (file("server.pem"), file("server.key"));
            for member in &mut members {
                member.arguments.extend([
                    format!("--cert-file={certificate}"),
                    format!("--key-file={key}"),
                    format!("--trusted-ca-file={}", file("ca.pem")),
                    "--client-cert-auth".into(),
                ]);
            }
        }
        let mut cluster = Self { dir, members, scheme };
        for nth in 0..cluster.members.len() {
            cluster.spawn(nth);
        }
        (0..cluster.members.len()).for_each(|nth| cluster.wait(nth));
        cluster
    }

    /// The members' client URLs.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let url = |member: &Member| format!("{}://{}", self.scheme, SocketAddr::new(member.address, CLIENTS));
        self.members.iter().map(url).collect()
    }

    /// Files in PEM for who asks a [`secured`](Self::secured) cluster: whom to trust, and a client's certificate and key.
    #[must_use]
    pub fn certificates(&self) -> [PathBuf; 3] {
        ["ca.pem", "client.pem", "client.key"].map(|name| self.dir.join(name))
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

/// Makes an authority, and a server's and a client's certificate signed by it.
fn certify(dir: &Path, places: &[(IpAddr, Option<String>)]) {
    let openssl = |arguments: &str| {
        let run =
            Command::new("openssl").args(arguments.split(' ')).current_dir(dir).stdin(Stdio::null()).output();
        let run =
            run.unwrap_or_else(|error| panic!("cannot run openssl: {error}; install it with tests/setup.sh"));
        assert!(run.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&run.stderr));
    };
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {new_key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
    let names: Vec<_> = places.iter().map(|(address, _)| format!("IP:{address}")).collect();
    for (who, names) in [("server", names.join(",")), ("client", "DNS:client".into())] {
        let files = format!("-keyout {who}.key -out {who}.csr");
        openssl(&format!("req {new_key} {files} -subj /CN={who} -addext subjectAltName={names}"));
        let signed_by = "-CA ca.pem -CAkey ca.key -CAcreateserial";
        openssl(&format!("x509 -req -in {who}.csr {signed_by} -out {who}.pem -days 2 -copy_extensions copy"));
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
