//! `ironbell top` on a terminal of its own: it draws, takes keys, and leaves the terminal as it was.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ironbell_appliance::trial::TrialNode;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const GENESIS: &str = "[genesis]\nassets = [{ code = \"USD\", decimals = 4 }, { code = \"BELL\", decimals = 0 }]\n\
    [[genesis.instruments]]\nsymbol = \"BELL\"\nbase = \"BELL\"\nquote = \"USD\"\ntick = \"0.01\"\n";

struct Screen {
    child: Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
    all: String,
}

impl Screen {
    fn open(config: &Path) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&terminal).expect("it is ours");
        unlockpt(&terminal).expect("it is ours");
        let size = Winsize { ws_row: 40, ws_col: 140, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("it has a size");
        let path =
            ptsname(&terminal, Vec::new()).expect("it has a name").into_string().expect("a plain name");
        let end = || -> OwnedFd {
            File::options().read(true).write(true).open(&path).expect("its other end").into()
        };
        let child = Command::new(env!("CARGO_BIN_EXE_ironbell"))
            .args(["top", "--config"])
            .arg(config)
            .env("TERM", "xterm-256color")
            .stdin(Stdio::from(end()))
            .stdout(Stdio::from(end()))
            .stderr(Stdio::from(end()))
            .spawn()
            .expect("it runs");
        let keys = File::from(terminal);
        let mut reader = keys.try_clone().expect("a second handle");
        let (sender, shown) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            // EIO: the other end is closed.
            while let Ok(count) = reader.read(&mut buffer) {
                if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keys, shown, all: String::new() }
    }

    /// Waits until the screen has said this since the last wait. Cells that did not change are not said again.
    fn wait_for(&mut self, what: &str) {
        let began = Instant::now();
        loop {
            if let Some(at) = self.all.find(what) {
                self.all.drain(..at + what.len());
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "no `{what}` in {:?}", self.all);
            if let Ok(bytes) = self.shown.recv_timeout(Duration::from_millis(100)) {
                self.all.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
    }

    fn press(&mut self, key: &str) {
        self.keys.write_all(key.as_bytes()).expect("the terminal takes a key");
    }
}

#[test]
fn a_node_is_watched_on_a_terminal() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("top");
    let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
    let mut node = TrialNode::prepare(&dir, GENESIS, Some(program)).expect("a node");
    node.start().expect("it starts");
    let mut screen = Screen::open(node.config_path());
    // Into the other screen, and drawn there.
    screen.wait_for("\u{1b}[?1049h");
    screen.wait_for("ironbell");
    screen.wait_for("durable");
    screen.press("2");
    screen.wait_for("gateway_sequencer");
    screen.press("4");
    screen.wait_for("no open order");
    screen.press("p");
    screen.wait_for("PAUSED");
    screen.press("p");
    // The node goes; the screen says so and lives on.
    node.kill();
    screen.wait_for("does not answer");
    screen.press("q");
    screen.wait_for("\u{1b}[?1049l");
    let status = screen.child.wait().expect("it was started here");
    assert!(status.success(), "{status}");
}

#[test]
fn without_a_terminal_or_a_node_it_says_so() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("top-none");
    let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
    let node = TrialNode::prepare(&dir, GENESIS, Some(program)).expect("a node");
    let output = Command::new(program).args(["top", "--config"]).arg(node.config_path()).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("wants a terminal") && said.trim_end().lines().count() == 1, "{said}");
    let mut screen = Screen::open(node.config_path());
    screen.wait_for("no node answers");
    assert_eq!(screen.child.wait().expect("it was started here").code(), Some(2));
}
