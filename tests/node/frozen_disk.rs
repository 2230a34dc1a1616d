//! Promise 4 with a real disk that stands still: the journal lies on a file system that is frozen
//! (FIFREEZE) while an order is under way. The order is sequenced and executed, its write is submitted and
//! does not end, and nobody hears of it: not the member, not the feed's followers, not whoever asks for
//! the status. When the file system thaws the answer comes.
//!
//! Needs root for the loop mount.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use ironbell_appliance::trial::TrialNode;
use ironbell_client::order_entry::{Event, Member, NewOrder};
use ironbell_types::{Nanos, Side, Symbol, Username};
use ironbell_wire::ouch::{OptionsBuf, Outbound};

const SECTIONS: &str = r#"segment_bytes = 4194304

[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }]
ports = [{ username = "ALFA01", password = "frozen", firm = "ALFA", account = 1 }]
funds = [{ account = 1, asset = "USD", amount = "1000000" }]
"#;

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {args:?} (this test mounts a disk image and needs root): {said}"
    );
}

/// A file system of its own on a disk image; thawed and unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(dir: &Path) -> Self {
        let (image, mount) = (dir.join("image"), dir.join("disk"));
        std::fs::create_dir(&mount).expect("a folder");
        let file = std::fs::File::create(&image).expect("a file");
        file.set_len(128 << 20).expect("a sparse file");
        run("mkfs.ext4", &["-q", "-F", image.to_str().expect("UTF-8")]);
        run("mount", &["-o", "loop", image.to_str().expect("UTF-8"), mount.to_str().expect("UTF-8")]);
        Self(mount)
    }

    /// Freezes it. Whatever becomes of this test, it thaws after a minute: a process that waits for a frozen
    /// disk cannot even be killed.
    fn freeze(&self) -> Frozen<'_> {
        let mount = self.0.to_str().expect("UTF-8");
        let watch =
            Command::new("sh").args(["-c", &format!("sleep 60; fsfreeze --unfreeze '{mount}'")]).spawn();
        run("fsfreeze", &["--freeze", mount]);
        Frozen { disk: self, watch: watch.expect("sh is there") }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

struct Frozen<'a> {
    disk: &'a Disk,
    watch: Child,
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.disk.0).status();
        let _ = self.watch.kill();
        let _ = self.watch.wait();
    }
}

/// The numbers of the orders accepted while polling until `done`, or for a minute.
fn accepted(member: &mut Member, clock: Instant, mut done: impl FnMut(&[u32]) -> bool) -> Vec<u32> {
    let (mut heard, begun) = (Vec::new(), Instant::now());
    while !done(&heard) && begun.elapsed() < Duration::from_secs(60) {
        member.poll(Nanos(clock.elapsed().as_nanos() as u64 + 1)).expect("the session holds");
        while let Some(event) = member.next().expect("the venue keeps the protocols") {
            if let Event::Message { message: Outbound::OrderAccepted(told, _), .. } = event {
                heard.push(told.user_ref_num.get());
            }
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    heard
}

#[test]
fn nothing_is_heard_while_the_disk_stands_still() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("frozen");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a folder");
    let disk = Disk::mount(&dir);
    let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
    let mut node = TrialNode::prepare(&dir.join("node"), SECTIONS, Some(program)).expect("a node");
    // The journal alone moves to that disk: logs and metrics are maps, and writing to a map of a frozen file
    // system would stop the thread that ought to be caught answering.
    let (journal, moved) = (node.config().journal_dir(), disk.0.join("journal"));
    run("mv", &[journal.to_str().expect("UTF-8"), moved.to_str().expect("UTF-8")]);
    std::os::unix::fs::symlink(&moved, &journal).expect("a link");
    node.start().expect("it starts");

    let clock = Instant::now();
    let status = node.status().expect("it answers");
    let (address, username) =
        (status.order_entry.parse().expect("an address"), Username::new("ALFA01").expect("short"));
    let config = ironbell_session::Config::default();
    let mut member =
        Member::connect(address, &config, username, "frozen", 1, Nanos(1)).expect("a connection");
    let is_up = Instant::now();
    while !member.entry().is_up() {
        accepted(&mut member, clock, |_| true);
        member.poll(Nanos(clock.elapsed().as_nanos() as u64 + 1)).expect("the session holds");
        while member.next().expect("the venue keeps the protocols").is_some() {}
        assert!(is_up.elapsed() < Duration::from_secs(60), "the member is not let in");
    }
    let order = NewOrder::day(Side::Buy, 1, Symbol::new("ANVL").expect("short"), 10_000);
    let first = member.entry().enter(&order, &OptionsBuf::EMPTY).expect("room");
    assert_eq!(accepted(&mut member, clock, |heard| !heard.is_empty()), [first]);

    // The shadow, which tells the status, may be a moment behind.
    node.hashes_at_rest().expect("it comes to rest");
    let before = node.status().expect("it answers");
    let frozen = disk.freeze();
    let second = member.entry().enter(&order, &OptionsBuf::EMPTY).expect("room");
    let since = Instant::now();
    let heard =
        accepted(&mut member, clock, |heard| !heard.is_empty() || since.elapsed() > Duration::from_secs(1));
    assert_eq!(heard, [0_u32; 0], "an order was answered that is on no disk");
    let meanwhile = node.status().expect("it answers, disk or no disk");
    assert_eq!((meanwhile.seq, meanwhile.feed_sequence), (before.seq, before.feed_sequence));
    let sequenced = |status: &ironbell_appliance::admin::Status| {
        let role = status.roles.iter().find(|role| role.role == "sequencer").expect("it counts");
        role.counters["seq"]
    };
    assert!(sequenced(&meanwhile) > before.seq, "the order was not even sequenced");

    drop(frozen);
    assert_eq!(accepted(&mut member, clock, |heard| !heard.is_empty()), [second]);
    assert_eq!(node.stop().expect("it ends"), 0);
}
