//! Two network namespaces and a pair of virtual Ethernet devices between them. The test's own thread is the
//! venue's; the member's is another thread, which runs what it is given. Both namespaces go with their threads.

use std::ffi::c_int;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};

pub const VENUE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const MEMBER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const VENUE_V4: SocketAddr = v4(1);
pub const MEMBER_V4: SocketAddr = v4(2);
pub const VENUE_V6: SocketAddr = v6(1);
pub const MEMBER_V6: SocketAddr = v6(2);

const fn v4(host: u8) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 77, 0, host)), 26_400)
}

const fn v6(host: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host)), 26_400)
}

type Job = Box<dyn FnOnce() + Send>;

pub struct Cable {
    jobs: Sender<Job>,
}

/// What a member's job says in the end.
pub struct Member<T>(Receiver<std::thread::Result<T>>);

impl<T> Member<T> {
    pub fn join(self) -> T {
        match self.0.recv().expect("the member's thread lives") {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Cable {
    pub const VENUE: &str = "venue0";
    pub const MEMBER: &str = "member0";

    pub fn new() -> Self {
        Self::with_queues(1, 1)
    }

    /// The venue's device has `venues` queues and the member's `members`, not more of these than of those.
    pub fn with_queues(venues: u32, members: u32) -> Self {
        leave_for_a_new_namespace();
        let (jobs, to_do) = channel::<Job>();
        let (told, thread_id) = channel();
        std::thread::spawn(move || {
            leave_for_a_new_namespace();
            // SAFETY: this call takes nothing and cannot fail.
            told.send(unsafe { libc::gettid() }).expect("the test waits");
            to_do.into_iter().for_each(|job| job());
        });
        let cable = Self { jobs };
        let thread_id: c_int = thread_id.recv().expect("the member's thread begins");
        ip(&format!(
            "link add {} address 02:00:00:00:00:01 numtxqueues {venues} numrxqueues {venues} type veth peer name {} \
             address 02:00:00:00:00:02 numtxqueues {members} numrxqueues {members} netns {thread_id}",
            Self::VENUE,
            Self::MEMBER
        ));
        bring_up(Self::VENUE, VENUE_V4, VENUE_V6);
        cable.member(|| bring_up(Self::MEMBER, MEMBER_V4, MEMBER_V6)).join();
        cable
    }

    /// Runs `job` in the member's namespace.
    pub fn member<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Member<T> {
        let (done, result) = channel();
        let job = move || {
            let _ = done.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)));
        };
        self.jobs.send(Box::new(job)).expect("the member's thread lives");
        Member(result)
    }
}

fn leave_for_a_new_namespace() {
    // SAFETY: this call takes no address; only this thread changes its namespace.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(
        result,
        0,
        "no network namespace of our own: {}; run as root (CAP_SYS_ADMIN)",
        std::io::Error::last_os_error()
    );
}

fn bring_up(device: &str, v4: SocketAddr, v6: SocketAddr) {
    ip("link set lo up");
    ip(&format!("addr add {}/24 dev {device}", v4.ip()));
    // Without the second in which the address is tried.
    ip(&format!("-6 addr add {}/64 dev {device} nodad", v6.ip()));
    ip(&format!("link set {device} up"));
    write_checksums(device);
}

pub fn ip(arguments: &str) {
    run("ip", arguments);
}

fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split_whitespace()).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program}: {error}; tests/setup.sh installs iproute2"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {said}");
}

/// The kernel leaves checksums to the device, and a virtual one writes none; who reads frames without the
/// kernel would find them wrong.
pub fn write_checksums(device: &str) {
    const ETHTOOL_STXCSUM: u32 = 0x17;
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    let mut value: [u32; 2] = [ETHTOOL_STXCSUM, 0];
    // SAFETY: all zeros are a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // SAFETY: the request names a device and an `ethtool_value`, both of which live until the call is over.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &mut request) };
    assert_eq!(result, 0, "checksums of {device}: {}", std::io::Error::last_os_error());
}

pub fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option lives until the call is over, and its size is told.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            std::ptr::from_ref(&linger).cast(),
            size_of_val(&linger) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "SO_LINGER");
}
