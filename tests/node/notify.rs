//! What a node tells the service manager that started it.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ironbell_appliance::trial::{Ended, TrialNode};

const GENESIS: &str = r#"
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }]
ports = [{ username = "ALFA01", password = "secret", firm = "ALFA", account = 1 }]
"#;

/// Waits for a message that says it.
fn hear(manager: &UnixDatagram, what: &str) -> String {
    let end = Instant::now() + Duration::from_secs(60);
    let mut buffer = [0; 4_096];
    loop {
        assert!(Instant::now() < end, "the service manager never heard {what}");
        let length = match manager.recv(&mut buffer) {
            Ok(length) => length,
            // A receive with a deadline is not begun again by the kernel.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => panic!("waiting for {what}: {error}"),
        };
        let said = String::from_utf8(buffer[..length].to_vec()).expect("UTF-8");
        if said.lines().any(|line| line == what) {
            return said;
        }
    }
}

#[test]
fn a_service_manager_hears_that_a_node_is_ready_moves_and_stops() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("notify");
    let node =
        TrialNode::prepare(&dir, GENESIS, Some(env!("CARGO_BIN_EXE_ironbell").as_ref())).expect("a node");
    let socket = dir.join("manager.sock");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(60))).expect("a time");
    let child = Command::new(env!("CARGO_BIN_EXE_ironbell"))
        .args(["run", "--config"])
        .arg(node.config_path())
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "2000000")
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    let mut child = Ended(child);
    let ready = hear(&manager, "READY=1");
    assert!(ready.contains("STATUS=ready: order entry 127.0.0.1:"), "{ready}");
    hear(&manager, "WATCHDOG=1");
    hear(&manager, "WATCHDOG=1");
    let pid = rustix::process::Pid::from_raw(child.0.id().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
    hear(&manager, "STOPPING=1");
    assert!(child.0.wait().expect("it ends").success());
}
