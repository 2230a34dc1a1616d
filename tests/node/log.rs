//! What a node says in the systemd journal: to a real systemd-journald, in namespaces of its own, and as journalctl reads it.

mod trader;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ironbell_appliance::trial::{Ended, TrialNode};
use ironbell_client::order_entry::{Event, Member, NewOrder};
use ironbell_session::Config;
use ironbell_types::{Nanos, Side, Symbol, Username};
use ironbell_wire::ouch::OptionsBuf;
use serde_json::Value;
use trader::{Node as _, PATIENCE, Trader};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ironbell");

const GENESIS: &str = r#"
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }, { mpid = "BETA" }]
ports = [
    { username = "ALFA01", password = "secret", firm = "ALFA", account = 1 },
    { username = "BETA01", password = "secret", firm = "BETA", account = 2 },
]
ctl = ["port ALFA01 --cancel-on-disconnect"]
"#;

/// A journal of its own, which is gone with it.
struct Journald {
    child: Ended,
    dir: PathBuf,
}

impl Journald {
    fn start(name: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let programs = ["/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald"];
        let program = programs.into_iter().find(|program| Path::new(program).exists());
        let program = program.expect("systemd-journald is missing: tests/setup.sh brings it");
        // It leaves the machine's kernel log and auditing alone.
        let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal\n\
            printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nAudit=\\nRateLimitBurst=0\\n' \
            >/run/systemd/journald.conf.d/test.conf\n\
            [ -s /etc/machine-id ] || { echo 'no /etc/machine-id: tests/setup.sh makes it' >&2; exit 1; }\n\
            exec \"$0\"";
        let child = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", script, program])
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux) is there");
        let mut journald = Self { child: Ended(child), dir };
        let socket = journald.inside("run/systemd/journal/socket");
        let begun = Instant::now();
        while !socket.exists() {
            if journald.child.0.try_wait().expect("it is ours").is_some() || begun.elapsed() > PATIENCE {
                let _ = journald.child.0.kill();
                let mut said = String::new();
                let _ = journald.child.0.stderr.take().expect("it is piped").read_to_string(&mut said);
                panic!("systemd-journald does not listen: {said}");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        journald
    }

    fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.child.0.id())).join(path)
    }

    /// A node whose program runs where this is the journal, by `how` in a shell.
    fn node(&self, how: &str, sections: &str) -> TrialNode {
        let script = format!(
            "#!/bin/sh\nexec 3>&1\nexec nsenter --user --mount --preserve-credentials -t {} {how} {PROGRAM:?} \"$@\"\n",
            self.child.0.id()
        );
        let _ = fs::remove_dir_all(&self.dir);
        let mut node =
            TrialNode::prepare(&self.dir, &format!("{sections}{GENESIS}"), Some(Path::new(PROGRAM)))
                .expect("a node");
        let program = self.dir.join("run.sh");
        fs::write(&program, script).expect("a file of ours");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
        node.run_by(&program);
        node.start().expect("it starts");
        node
    }

    /// What the journal has, as journalctl tells it.
    fn entries(&self) -> Vec<Value> {
        let output = Command::new("journalctl")
            .args(["--output", "json", "--no-pager", "--quiet", "--directory"])
            .arg(self.inside("run/log/journal"))
            .output()
            .expect("journalctl is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).expect("JSON");
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The first entry whose message begins so.
    fn entry(&self, message: &str) -> Value {
        self.entry_with(|entry| entry["MESSAGE"].as_str().is_some_and(|said| said.starts_with(message)))
    }

    /// The first such entry.
    fn entry_with(&self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let entries = self.entries();
            if let Some(found) = entries.iter().find(|entry| is_wanted(entry)) {
                return found.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "nothing says it: {entries:#?}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// Of an entry: its priority, session and firm, and whether it names a Seq.
fn fields(entry: &Value) -> (&str, Option<&str>, Option<&str>, bool) {
    assert_eq!(entry["SYSLOG_IDENTIFIER"], "ironbell", "{entry:#?}");
    assert_eq!(entry["_TRANSPORT"], "journal", "{entry:#?}");
    let seq = entry["IRONBELL_SEQ"].as_str().map(|seq| seq.parse::<u64>().expect("a number"));
    let field = |name: &str| entry[name].as_str();
    (
        field("PRIORITY").expect("each has one"),
        field("IRONBELL_SESSION"),
        field("IRONBELL_FIRM"),
        seq.is_some_and(|seq| seq > 0),
    )
}

fn ctl(node: &TrialNode, words: &[&str]) {
    let output =
        Command::new(PROGRAM).arg("ctl").arg("--config").arg(node.config_path()).args(words).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_journal_gets_what_happens_to_members_with_its_fields() {
    let journal = Journald::start("log-journal");
    let mut node = journal.node("", "\n[log]\nto = \"journal\"\n");
    let mut alfa = Trader::connect(&node, "ALFA01");
    assert_eq!(fields(&journal.entry("logged in")), ("6", Some("ALFA01"), Some("ALFA"), true));

    alfa.member.entry().dead_man(Nanos(1)).expect("there is room");
    // Whatever it hears of it.
    alfa.next(|_| String::new());
    assert_eq!(
        fields(&journal.entry("the dead-man timer ran out")),
        ("4", Some("ALFA01"), Some("ALFA"), true)
    );

    let mut beta = Trader::connect(&node, "BETA01");
    let order = NewOrder::day(Side::Buy, 1, Symbol::new("ANVL").expect("short"), 10_000);
    beta.member.entry().enter(&order, &OptionsBuf::EMPTY).expect("there is room");
    beta.next(|_| String::new());
    let refused = journal.entry("orders were refused");
    assert_eq!(fields(&refused), ("4", Some("BETA01"), Some("BETA"), true));
    assert_eq!(refused["IRONBELL_REASON"], "AggregateExposure");

    let username = Username::new("ALFA01").expect("six characters");
    let wrong = Member::connect(node.order_entry(), &Config::default(), username, "wrong", 1, Nanos(0));
    let mut wrong = wrong.expect("the node listens");
    let begun = Instant::now();
    while !matches!(wrong.next(), Ok(Some(Event::Refused(_))) | Err(_)) {
        if wrong.poll(Nanos(1)).is_err() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "no answer came");
    }
    let refused = journal.entry("a login was refused");
    assert_eq!(fields(&refused), ("4", Some("ALFA01"), Some("ALFA"), false));
    assert_eq!(refused["IRONBELL_WHY"], "not authorized");

    let mut stranger = TcpStream::connect(node.order_entry()).expect("the node listens");
    stranger.write_all(&[0, 5, b'?', 0, 0, 0, 0]).expect("it is taken");
    assert_eq!(fields(&journal.entry("the connection was dropped")), ("4", None, None, false));

    ctl(&node, &["kill", "firm", "BETA", "on"]);
    assert_eq!(fields(&journal.entry("kill switch: firm BETA is killed")), ("4", None, Some("BETA"), true));

    drop(alfa);
    assert_eq!(
        fields(&journal.entry("the connection is closed")),
        ("6", Some("ALFA01"), Some("ALFA"), false)
    );
    let out = journal.entry("logged out: its open orders are cancelled on disconnect");
    assert_eq!(fields(&out), ("4", Some("ALFA01"), Some("ALFA"), true));

    let status = node.status().expect("it answers");
    let log = status.roles.iter().find(|role| role.role == "log").expect("it is counted");
    assert!(log.counters["written"] >= 8, "{log:?}");
    assert_eq!((log.counters["dropped"], log.counters["unsent"]), (0, 0));

    // A start says nothing again of what was said before it.
    assert_eq!(node.stop().expect("it ends"), 0);
    node.start().expect("it starts again");
    let _beta = beta.reconnect(&node);
    journal.entry_with(|entry| entry["IRONBELL_SESSION"] == "BETA01" && entry["IRONBELL_LOGIN"] == "2");
    let entries = journal.entries();
    let switched =
        |entry: &&Value| entry["MESSAGE"].as_str().is_some_and(|said| said.starts_with("kill switch"));
    assert_eq!(entries.iter().filter(switched).count(), 1, "{entries:#?}");
    assert_eq!(node.stop().expect("it ends"), 0);
}

/// A service's stderr is a stream to the journal, which the node finds out by itself; where it was redirected since, it
/// writes lines there.
#[test]
fn a_service_finds_the_journal_by_itself() {
    let journal = Journald::start("log-service");
    let run = |stream: &str| {
        format!("systemd-cat sh -c 'JOURNAL_STREAM={stream}; export JOURNAL_STREAM; exec \"$0\" \"$@\" >&3'")
    };
    let mut node = journal.node(&run("$(stat -L -c %d:%i /proc/self/fd/2)"), "");
    let member = Trader::connect(&node, "ALFA01");
    assert_eq!(fields(&journal.entry("logged in")), ("6", Some("ALFA01"), Some("ALFA"), true));
    drop(member);
    assert_eq!(node.stop().expect("it ends"), 0);

    let journal = Journald::start("log-line");
    let mut node = journal.node(&run("1:1"), "");
    let _member = Trader::connect(&node, "ALFA01");
    let is_line = |entry: &Value| {
        entry["MESSAGE"].as_str().is_some_and(|said| said.contains("logged in"))
            && entry["_TRANSPORT"] == "stdout"
    };
    journal.entry_with(is_line);
    assert_eq!(node.stop().expect("it ends"), 0);
}

/// The journal is not there: a node that must speak to it says so and does not start.
#[test]
fn a_node_that_is_to_speak_to_no_journal_does_not_start() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("log-none");
    let sections = format!("\n[log]\nto = \"journal\"\n{GENESIS}");
    let node = TrialNode::prepare(&dir, &sections, Some(Path::new(PROGRAM))).expect("a node");
    let child: Result<Child, _> = Command::new("unshare")
        .args([
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs none /run && exec \"$0\" run --config \"$1\"",
            PROGRAM,
        ])
        .arg(node.config_path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let output = child.expect("unshare (util-linux) is there").wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("log.to = \"journal\": nobody listens at"), "{said}");
}
