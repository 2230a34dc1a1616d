//! Checkpoints of a trading node, signed by a real PKCS#11 module (SoftHSM2): a member's receipt holds without the
//! venue; a token that is taken out, processes that are killed and a tree that is lost change nothing of what was
//! signed; and nothing is signed that would be another history.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ironbell_appliance::trial::TrialNode;
use ironbell_hsm::merkle::{consistency_proof, verify_consistency};
use ironbell_hsm::{Checkpoint, Head, Note, Tree, VerifierKey, parse_keys};
use ironbell_load::{Driver, DriverConfig, Ended, FlowConfig, Login, Mix, Traded, Until};
use ironbell_store::Reader;
use ironbell_types::{Command as Journaled, Control, Symbol, Username};

const ORIGIN: &str = "venue.example/ironbell";
const LONG: Duration = Duration::from_secs(120);

fn sections(dir: &Path) -> String {
    let (module, pin, site) = (module(), dir.join("pin"), dir.join("site"));
    format!(
        r#"segment_bytes = 4194304

[snapshot]
every = "off"
every_commands = 0

[signing]
origin = "{ORIGIN}"
every = "100ms"
waiting_max = 5
publish = "{}"

[[signing.keys]]
module = "{}"
token = "venue"
key = "log-1"
pin_file = "{}"

[genesis]
assets = [{{ code = "USD", decimals = 4 }}, {{ code = "ANVL", decimals = 0 }}]
instruments = [{{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01", maker_fee_bps = 1, taker_fee_bps = 3 }}]
firms = [{{ mpid = "ALFA" }}, {{ mpid = "BETA" }}]
ports = [
    {{ username = "ALFA01", password = "bell", firm = "ALFA", account = 1 }},
    {{ username = "BETA01", password = "bell", firm = "BETA", account = 2 }},
]
funds = [
    {{ account = 1, asset = "USD", amount = "1000000000" }}, {{ account = 1, asset = "ANVL", amount = "10000000" }},
    {{ account = 2, asset = "USD", amount = "1000000000" }}, {{ account = 2, asset = "ANVL", amount = "10000000" }},
]
"#,
        site.display(),
        module.display(),
        pin.display()
    )
}

fn module() -> PathBuf {
    let places = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ];
    let found = places.into_iter().map(PathBuf::from).find(|path| path.exists());
    found.expect("SoftHSM2 is missing: run tests/setup.sh, or apt-get install softhsm2")
}

/// The bits that this process takes off every file's mode.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").expect("it is there");
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).expect("Linux 4.7 says it");
    u32::from_str_radix(line.trim(), 8).expect("octal digits")
}

fn driver_config() -> DriverConfig {
    let login = |name: &str| Login { username: Username::new(name).expect("short"), password: "bell".into() };
    let symbol = Symbol::new("ANVL").expect("short");
    let instruments = vec![Traded { symbol, mid: 1_890_000, tick: 100, qty_max: 500 }];
    let flow = FlowConfig { seed: 9, instruments, mix: Mix::default(), standing_max: 200 };
    DriverConfig {
        remember: true,
        ..DriverConfig::new(vec![login("ALFA01"), login("BETA01")], flow, 1_000.0)
    }
}

/// A node, a token, and a process that signs.
struct Venue {
    dir: PathBuf,
    node: TrialNode,
    driver: Driver,
    signer: Option<Child>,
}

impl Venue {
    fn new(name: &str) -> Self {
        Self::with(name, |sections| sections)
    }

    /// One whose configuration is changed.
    fn with(name: &str, change: impl Fn(String) -> String) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("signing-{name}-token"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("tokens")).expect("a scratch directory");
        let conf =
            format!("directories.tokendir = {}\nobjectstore.backend = file\n", dir.join("tokens").display());
        fs::write(dir.join("softhsm2.conf"), conf).expect("a scratch file");
        for (name, pin) in [("pin", "1234 user"), ("officer-pin", "5678 officer")] {
            fs::write(dir.join(name), pin).expect("a scratch file");
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o400)).expect("it is ours");
        }
        let node_dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("signing-{name}"));
        let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
        let mut node = TrialNode::prepare(&node_dir, &change(sections(&dir)), Some(program)).expect("a node");
        node.start().expect("it starts");
        let address = node.status().expect("it answers").order_entry.parse().expect("an address");
        let driver = Driver::connect(address, driver_config()).expect("members are let in");
        let venue = Self { dir, node, driver, signer: None };
        let officer = venue.dir.join("officer-pin");
        venue.must(&["hsm", "init", "--officer-pin-file", officer.to_str().expect("UTF-8")], true);
        venue.must(&["hsm", "generate", "--key", "log-1", "--name", ORIGIN], true);
        venue
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ironbell"));
        command.args(arguments).env("SOFTHSM2_CONF", self.dir.join("softhsm2.conf"));
        command
    }

    /// `ironbell ARGUMENTS`, which goes well; with the token, or the node's configuration.
    fn must(&self, arguments: &[&str], with_token: bool) -> String {
        let mut command = self.command(arguments);
        if with_token {
            command.args(["--token", "venue", "--module"]).arg(module());
            command.arg("--pin-file").arg(self.dir.join("pin"));
        } else {
            command.arg("--config").arg(self.node.config_path());
        }
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn start_signing(&mut self) {
        let log = fs::File::create(self.dir.join("sign.log")).expect("a scratch file");
        let mut command = self.command(&["sign", "--config"]);
        self.signer = Some(command.arg(self.node.config_path()).stderr(log).spawn().expect("it runs"));
    }

    /// Ends it with this signal; its exit code.
    fn end_signing(&mut self, signal: &str) -> Option<i32> {
        let mut child = self.signer.take().expect("it runs");
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
        assert!(killed.success());
        child.wait().expect("it ends").code()
    }

    fn signing_once(&self) -> Output {
        let mut command = self.command(&["sign", "--once", "--config"]);
        command.arg(self.node.config_path()).output().expect("it runs")
    }

    fn trade(&mut self, acks: u64) {
        let until = self.driver.outcome().counts.acks() + acks;
        while self.driver.outcome().counts.acks() < until {
            self.driver.run(Until::Elapsed(Duration::from_millis(100)), |_| {});
            assert_eq!(self.driver.outcome().ended, Ended::Completed);
        }
    }

    fn files(&self) -> PathBuf {
        self.node.config().data_dir.join("signing")
    }

    fn checkpoint(&self) -> Option<(Note, Checkpoint)> {
        let note = Note::parse(&fs::read_to_string(self.files().join("checkpoint")).ok()?).expect("a note");
        let checkpoint = Checkpoint::parse(&note.text).expect("a checkpoint");
        Some((note, checkpoint))
    }

    fn size(&self) -> u64 {
        self.checkpoint().map_or(0, |(_, checkpoint)| checkpoint.size)
    }

    /// What the journal holds up to `seq`: the last command that is no signed head, and all signed heads.
    fn journal(&self, seq: u64) -> (u64, Vec<Head>) {
        let (mut last, mut heads) = (0, Vec::new());
        let mut reader = Reader::open(&self.node.config().journal_dir()).expect("it is there");
        while let Some(frame) = reader.next_frame().expect("it is sound") {
            for command in frame.commands.iter().filter(|command| command.seq.0 <= seq) {
                match command.command {
                    Journaled::Control(Control::SignedHead { size, root, epoch }) => {
                        heads.push(Head { epoch, size, root });
                    }
                    _ => last = command.seq.0,
                }
            }
        }
        (last, heads)
    }

    fn signing_counter(&self, name: &str) -> Option<u64> {
        let status = self.node.status().expect("it answers");
        status.roles.iter().find(|role| role.role == "signing")?.counters.get(name).copied()
    }

    /// Waits until all that is committed now is signed, but for signed heads.
    fn all_is_signed(&mut self) -> u64 {
        let (seq, _) = self.journal(self.node.status().expect("it answers").seq);
        let begun = Instant::now();
        while self.size() < seq {
            if let Some(status) = self.signer.as_mut().and_then(|child| child.try_wait().expect("a child")) {
                panic!("it ended with {status}: {}", self.said());
            }
            assert!(begun.elapsed() < LONG, "{} of {seq}: {}", self.size(), self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.size()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.join("sign.log")).expect("its log")
    }

    /// Every checkpoint ever signed is by the log's key, and grew out of the one before it.
    fn history_is_one(&self) -> usize {
        let keys =
            parse_keys(&fs::read_to_string(self.files().join("log.pub")).expect("the keys")).expect("keys");
        let text = fs::read_to_string(self.files().join("checkpoints")).expect("the checkpoints");
        let last = self.checkpoint().expect("it signed").1;
        let tree =
            Tree::read(&self.files().join("tree"), &Head { epoch: 0, size: last.size, root: last.root })
                .expect("the tree leads to the last of them");
        let mut before: Option<Checkpoint> = None;
        let mut count = 0;
        for note in Note::parse_all(&text).expect("notes") {
            note.verify_all(&keys).expect("it verifies");
            let next = Checkpoint::parse(&note.text).expect("a checkpoint");
            if let Some(before) = before {
                let proof = consistency_proof(&tree, before.size, next.size).expect("nodes");
                verify_consistency((before.size, &before.root), (next.size, &next.root), &proof)
                    .expect("it grew");
            }
            before = Some(next);
            count += 1;
        }
        count
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        if let Some(child) = &mut self.signer {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_member_holds_a_receipt_that_needs_no_venue() {
    let mut venue = Venue::new("receipt");
    venue.trade(300);
    venue.start_signing();
    let size = venue.all_is_signed();
    // The newest command that told this port something.
    let dir = venue.dir.clone();
    let receipt = (1..=size).rev().find_map(|seq| {
        let mut command =
            venue.command(&["receipt", &seq.to_string(), "--show", "port=ALFA01,time", "--config"]);
        let output = command.arg(venue.node.config_path()).output().expect("it runs");
        output.status.success().then(|| String::from_utf8(output.stdout).expect("UTF-8"))
    });
    let receipt = receipt.expect("ALFA01 was told something");
    let (file, keys) = (dir.join("receipt"), venue.files().join("log.pub"));
    fs::write(&file, &receipt).expect("a scratch file");
    let verify = |venue: &Venue| {
        let mut command = venue.command(&["verify-receipt"]);
        command.arg(&file).arg("--key").arg(&keys).output().expect("it runs")
    };
    let output = verify(&venue);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("holds") && said.contains("port: "), "{output:?}");
    assert!(!receipt.contains("part account") && !receipt.contains("part command"), "{receipt}");
    // Another program, in another language, with OpenSSL.
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/node/interop/verify_receipt.py");
    let python = || Command::new("python3").arg(program).arg(&file).arg(&keys).output().expect("python3");
    assert!(python().status.success(), "{:?}", python());
    // One changed letter of what was said.
    let place = receipt.find("content ").expect("it has one") + 30;
    let mut changed = receipt.clone().into_bytes();
    changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
    fs::write(&file, changed).expect("a scratch file");
    let output = verify(&venue);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!python().status.success());
    // What was not signed yet, and what is not there.
    for arguments in [["receipt", "999999999", "--show", "time"], ["receipt", "1", "--show", "account=77"]] {
        let output = venue.command(&arguments).arg("--config").arg(venue.node.config_path()).output();
        assert_eq!(output.expect("it runs").status.code(), Some(2), "{arguments:?}");
    }
    // Static files that any transparency log client reads.
    assert!(dir.join("site/checkpoint").exists());
    assert!(dir.join("site/tile/0/000").exists(), "genesis and 300 orders fill a tile");
    // The same by HTTP, on the feed's TCP service port.
    let itch = venue.node.status().expect("it answers").itch;
    let get = |path: &str| {
        let mut stream = TcpStream::connect(&itch).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: venue\r\n\r\n").expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers and closes");
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
        (String::from_utf8_lossy(&answer[9..12]).into_owned(), answer.split_off(end))
    };
    let (status, body) = get("/checkpoint");
    assert_eq!(status, "200");
    let note = Note::parse(&String::from_utf8(body).expect("UTF-8")).expect("a note");
    let log = parse_keys(&fs::read_to_string(&keys).expect("the keys")).expect("keys");
    note.verify_all(&log).expect("it verifies");
    assert_eq!(get("/tile/0/000"), ("200".into(), fs::read(dir.join("site/tile/0/000")).expect("a tile")));
    for path in ["/tile/0/999", "/../signing/head", "/head", "/"] {
        assert_eq!(get(path).0, "404", "{path}");
    }
    let attested =
        venue.must(&["hsm", "attest", "--key", "log-1", "--name", ORIGIN, "--challenge", "today"], true);
    assert!(attested.contains("key log-1 ed25519 sensitive yes extractable no never-left yes"), "{attested}");

    // A key that was made for it is backed up, under a key that two custodians made together.
    let file = |name: &str| venue.dir.join(name).to_str().expect("UTF-8").to_owned();
    let (one, two, backup) = (file("component-1"), file("component-2"), file("log-2.wrapped"));
    for component in [&one, &two] {
        assert!(venue.command(&["key", component]).status().expect("it runs").success());
    }
    let generate =
        ["hsm", "generate", "--key", "log-2", "--algorithm", "ecdsa-p256", "--name", ORIGIN, "--backup"];
    let made = venue.must(&generate, true);
    let components = ["--component", &one, "--component", &two];
    venue.must(&[&["hsm", "backup-key", "--key", "backup-1"], &components[..]].concat(), true);
    venue.must(&["hsm", "export", "--key", "log-2", "--with", "backup-1", &backup], true);
    venue.must(&["hsm", "import", "--key", "log-2-restored", "--with", "backup-1", &backup], true);
    let restored = venue.must(&["hsm", "public", "--key", "log-2-restored", "--name", ORIGIN], true);
    assert_eq!(restored, made);
    assert_eq!(venue.end_signing("-TERM"), Some(0));
}

#[test]
fn what_was_signed_stays_one_history() {
    let mut venue = Venue::new("history");
    venue.start_signing();
    venue.trade(100);
    venue.all_is_signed();

    // The token is taken out: trading goes on, checkpoints wait, and there is an alarm; put back, all is signed.
    let (tokens, away) = (venue.dir.join("tokens"), venue.dir.join("away"));
    fs::rename(&tokens, &away).expect("taken out");
    fs::create_dir(&tokens).expect("an empty slot");
    let begun = Instant::now();
    while !venue.said().contains("ALARM: checkpoints wait") {
        assert!(begun.elapsed() < LONG, "{}", venue.said());
        venue.trade(20);
    }
    assert_eq!(venue.signing_counter("late"), Some(1));
    let unsigned = venue.size();
    fs::remove_dir_all(&tokens).expect("the empty slot");
    fs::rename(&away, &tokens).expect("put back");
    assert!(venue.all_is_signed() > unsigned);

    // What was signed stands in the journal, so that a successor knows of it; and the node says how signing is.
    let begun = Instant::now();
    while venue.signing_counter("journaled_size") < Some(venue.size()) {
        assert!(begun.elapsed() < LONG, "{}", venue.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    let (_, heads) = venue.journal(u64::MAX);
    let signed = venue.checkpoint().expect("it signed").1;
    let newest = heads.last().expect("it is journaled");
    assert_eq!((newest.size, newest.root), (signed.size, signed.root));
    assert_eq!(venue.signing_counter("late"), Some(0));
    assert!(venue.signing_counter("failed") > Some(0), "the token was out");

    // Who signs may be a user of its own in the node's group: that reads the journal, and nobody else does.
    let journal = venue.node.config().journal_dir();
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&journal), 0o750 & !umask());
    assert_eq!(mode(&journal.join("superblock")), 0o640 & !umask());
    assert_eq!(mode(&journal.join("0000000001.segment")), 0o640 & !umask());

    // The socket that it asks by is for that, and for nothing else.
    let socket = venue.node.config().signing_socket();
    assert_eq!(fs::metadata(&socket).expect("it is there").permissions().mode() & 0o777, 0o660);
    for request in [
        r#"{"request":"status"}"#,
        r#"{"request":"control","ask":{"phase":{"symbol":"all","phase":"continuous","reason":""}},"wait":true}"#,
        r#"{"request":"control","ask":{"delist":{"symbol":"ANVL"}},"wait":true}"#,
    ] {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        writeln!(stream, "{request}").expect("it reads");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("it answers");
        assert!(answer.contains("error") && answer.contains("the signing process may"), "{answer}");
    }

    // Killed in the midst, as often as it likes.
    for _ in 0..3 {
        venue.trade(30);
        venue.end_signing("-KILL");
        venue.trade(10);
        venue.start_signing();
    }
    venue.all_is_signed();
    assert_eq!(venue.end_signing("-TERM"), Some(0));
    assert!(venue.history_is_one() > 3);

    // The tree is a shortcut: lost or changed, it is made again from the journal, and comes to the same root.
    let signed = venue.checkpoint().expect("it signed").1;
    fs::remove_dir_all(venue.files().join("tree")).expect("it is ours");
    let output = venue.signing_once();
    assert!(output.status.success(), "{output:?}");
    venue.trade(10);
    let output = venue.signing_once();
    assert!(output.status.success(), "{output:?}");
    assert!(venue.size() > signed.size);
    venue.history_is_one();

    // What was signed last is never guessed, and never set back.
    let head = venue.files().join("head");
    let kept = fs::read_to_string(&head).expect("it is there");
    fs::remove_file(&head).expect("it is ours");
    assert_eq!(venue.signing_once().status.code(), Some(2));
    fs::write(&head, kept.replace("size ", "size 1")).expect("a scratch file");
    assert_eq!(venue.signing_once().status.code(), Some(2));
    fs::write(&head, kept).expect("a scratch file");
    assert!(venue.signing_once().status.success());
}

#[test]
fn a_wrong_pin_ends_the_process_and_is_not_tried_again() {
    let mut venue = Venue::new("pin");
    let pin = venue.dir.join("pin");
    let right = fs::read_to_string(&pin).expect("it is there");
    let write = |text: &str| {
        fs::remove_file(&pin).expect("it is ours");
        fs::write(&pin, text).expect("a scratch file");
        fs::set_permissions(&pin, fs::Permissions::from_mode(0o400)).expect("it is ours");
    };
    write("0000");
    for line in ["refused the PIN", "was told a wrong PIN since", "was told a wrong PIN since"] {
        let output = venue.signing_once();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(line), "{output:?}");
    }
    write(&right);
    assert_eq!(venue.signing_once().status.code(), Some(2), "a person has to say that it was corrected");
    let tested = venue.must(&["hsm", "test", "--key", "log-1"], true);
    assert!(tested.contains("20 ed25519 signatures made and verified"), "{tested}");
    venue.trade(10);
    let output = venue.signing_once();
    assert!(output.status.success(), "{output:?}");
    assert!(venue.size() > 10);
}

/// Epochs, snapshots, archives and approved payments, each signed by the token, and each tampered with.
#[test]
fn what_the_venue_vouches_for_is_signed() {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let keys = root.join("signing-papers-keys");
    let mut venue = Venue::with("papers", |sections| {
        let journal = format!("waiting_max = 5\nkey_journal = \"{}\"", keys.display());
        sections.replace("waiting_max = 5", &journal)
    });
    let _ = fs::remove_file(&keys);
    let path = |venue: &Venue, name: &str| venue.dir.join(name).to_str().expect("UTF-8").to_owned();
    let run = |venue: &Venue, arguments: &[&str], code: i32| {
        let output = venue.command(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    // Two officers, both of whom must approve a payment, stand in the key journal.
    let journal = ["--journal", keys.to_str().expect("UTF-8"), "--origin", ORIGIN];
    let mut proposed = vec!["hsm", "journal", "propose"];
    proposed.extend(journal);
    let officers = ["ann", "bob"].map(|name| {
        let file = path(&venue, &format!("{name}.pem"));
        run(&venue, &["hsm", "generate", "--file", &file, "--name", name], 0).trim().to_owned()
    });
    let changes = officers.map(|key| format!("add officer {key}"));
    for change in changes.iter().map(String::as_str).chain(["quorum 2"]) {
        proposed.extend(["--change", change]);
    }
    let approve = |venue: &Venue, name: &str, text: &str| {
        let file = path(venue, &format!("{name}.pem"));
        run(venue, &["hsm", "journal", "sign", "--file", &file, "--name", name, text], 0)
    };
    let entry = path(&venue, "entry");
    fs::write(&entry, run(&venue, &proposed, 0)).expect("a scratch file");
    let lines = ["ann", "bob"].map(|name| {
        let line = path(&venue, &format!("{name}.line"));
        fs::write(&line, approve(&venue, name, &entry)).expect("a scratch file");
        line
    });
    let mut appended = vec!["hsm", "journal", "append", "--text", &entry];
    appended.extend(journal);
    appended.extend(["--signature", &lines[0], "--signature", &lines[1]]);
    run(&venue, &appended, 0);

    venue.trade(50);
    venue.start_signing();
    venue.all_is_signed();
    let files = venue.files();
    let wait = |venue: &Venue, what: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !what() {
            assert!(begun.elapsed() < LONG, "{}", venue.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let public = files.join("log.pub").to_str().expect("UTF-8").to_owned();
    let verify = |venue: &Venue, name: &str, file: Option<&Path>, code: i32| {
        let note = files.join("manifest").join(name).to_str().expect("UTF-8").to_owned();
        let mut arguments = vec!["verify-manifest", &note];
        arguments.extend(file.map(|file| file.to_str().expect("UTF-8")));
        arguments.extend(["--key", &public]);
        run(venue, &arguments, code)
    };

    // The epoch, and what it began on.
    wait(&venue, &|| files.join("manifest/epoch-1").exists());
    let said = verify(&venue, "epoch-1", None, 0);
    assert!(said.contains("ironbell epoch v1") && said.contains("\nsize "), "{said}");
    let note = files.join("manifest/epoch-1");
    let good = fs::read_to_string(&note).expect("it is there");
    fs::write(&note, good.replace("epoch 1\n", "epoch 9\n")).expect("a scratch file");
    assert!(verify(&venue, "epoch-1", None, 1).contains("does not verify"));
    fs::write(&note, good).expect("a scratch file");

    // A snapshot.
    venue.must(&["snapshot", "now"], false);
    let journal_dir = venue.node.config().journal_dir();
    let (seq, snapshot) = ironbell_store::snapshot::list(&journal_dir).expect("a list").remove(0);
    let name = format!("snapshot-{seq}");
    wait(&venue, &|| files.join("manifest").join(&name).exists());
    verify(&venue, &name, Some(&snapshot), 0);
    let copy = venue.dir.join("snapshot");
    let mut bytes = fs::read(&snapshot).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&copy, bytes).expect("a scratch file");
    assert!(verify(&venue, &name, Some(&copy), 1).contains("is not the snapshot"));

    // Payments: one with both approvals, one with one, and one that the venue did not ask for itself.
    let payment = |id: &str| {
        format!(
            "ironbell payment v1\n{ORIGIN}\nid {id}\nfrom DE02120300000000202051\nto GB33BUKB20201555555555\n\
             asset USD\namount 1000.00\nnot-after 4000000000\n"
        )
    };
    for (name, approvals) in [("payment-1", &["ann", "bob"][..]), ("payment-2", &["ann"])] {
        let text = path(&venue, name);
        fs::write(&text, payment(name)).expect("a scratch file");
        let lines: String = approvals.iter().map(|officer| approve(&venue, officer, &text)).collect();
        ironbell_hsm::write_durably(&files.join("asked").join(name), &format!("{}\n{lines}", payment(name)))
            .expect("it is ours");
    }
    let forged = format!("ironbell epoch v1\n{ORIGIN}\nepoch 7\nsize 0\nroot {}=\n", "A".repeat(43));
    ironbell_hsm::write_durably(&files.join("asked/epoch-7"), &forged).expect("it is ours");
    wait(&venue, &|| fs::read_dir(files.join("asked")).expect("it is there").next().is_none());
    assert!(verify(&venue, "payment-1", None, 0).contains("amount 1000.00"));
    let refused = fs::read_to_string(files.join("refused/payment-2")).expect("it is there");
    assert!(refused.contains("refused: 1 officers approved, and 2 must"), "{refused}");
    assert!(files.join("refused/epoch-7").exists() && !files.join("manifest/epoch-7").exists());

    // An archive of the first segment, which is sealed once two more are ready behind the second; and another epoch.
    let begun = Instant::now();
    while !journal_dir.join("0000000005.segment").exists() {
        assert!(begun.elapsed() < LONG, "{}", venue.said());
        venue.trade(100);
    }
    assert_eq!(venue.node.stop().expect("it ends"), 0);
    venue.node.start().expect("it starts");
    wait(&venue, &|| files.join("manifest/epoch-2").exists());
    let place = path(&venue, "archive");
    let archive = ["archive", &place, "--copy", "--before", "1000000000"];
    let said = venue.must(&archive, false);
    assert!(said.contains("its manifest is signed"), "{said}");
    let config = venue.node.config_path().to_str().expect("UTF-8").to_owned();
    let check = ["restore", &place, "--check", "--config", &config, "--key", &public];
    assert!(run(&venue, &check, 0).contains("signed by the venue"));
    let manifest = Path::new(&place).join("manifest.json");
    let good = fs::read(&manifest).expect("it is there");
    fs::write(&manifest, [&good[..], b"\n"].concat()).expect("a scratch file");
    assert!(run(&venue, &check, 1).contains("is not the archive"));
    fs::write(&manifest, good).expect("a scratch file");
    fs::remove_file(Path::new(&place).join("manifest.json.note")).expect("it is there");
    assert!(run(&venue, &check, 1).contains("is not signed"));
    assert_eq!(venue.end_signing("-TERM"), Some(0));
}

/// A key is rotated with an overlap, on the token; then it is stolen, and the recovery key revokes it.
#[test]
fn keys_are_rotated_and_a_stolen_one_is_revoked() {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let keys = root.join("signing-rotation-keys");
    let _ = fs::remove_file(&keys);
    let mut venue = Venue::with("rotation", |sections| {
        let journal = format!("waiting_max = 5\nkey_journal = \"{}\"", keys.display());
        sections.replace("waiting_max = 5", &journal)
    });
    let credentials = venue.dir.join("credentials");
    fs::create_dir(&credentials).expect("a scratch directory");
    fs::copy(venue.dir.join("pin"), credentials.join("hsm-pin")).expect("a scratch file");
    let run = |venue: &Venue, arguments: &[&str], code: i32| {
        // As systemd passes them to a service.
        let output = venue.command(arguments).env("CREDENTIALS_DIRECTORY", &credentials).output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let vkey = |said: &str| said.trim().to_owned();
    let new_key = |venue: &Venue, label: &str| {
        let arguments = ["hsm", "generate", "--key", label, "--algorithm", "ecdsa-p256", "--name", ORIGIN];
        vkey(&venue.must(&arguments, true))
    };
    let path = |venue: &Venue, name: &str| venue.dir.join(name).to_str().expect("UTF-8").to_owned();
    let journal = ["--journal", keys.to_str().expect("UTF-8"), "--origin", ORIGIN];
    let recovery = path(&venue, "recovery.pem");
    let recovery_key = vkey(&run(&venue, &["hsm", "generate", "--file", &recovery, "--name", "safe"], 0));
    // Proposes, has it signed by the token's keys of these labels and by the recovery key, and appends.
    let append = |venue: &Venue, changes: &[&str], labels: &[&str], code: i32| {
        let mut proposed = vec!["hsm", "journal", "propose"];
        proposed.extend(journal);
        changes.iter().for_each(|change| proposed.extend(["--change", change]));
        let text = path(venue, "entry");
        fs::write(&text, run(venue, &proposed, 0)).expect("a scratch file");
        let sign = ["hsm", "journal", "sign"];
        let by_safe = [&sign[..], &["--file", &recovery, "--name", "safe", &text]].concat();
        let mut lines = run(venue, &by_safe, 0);
        for label in labels {
            let arguments = [&sign[..], &["--key", label, "--name", ORIGIN, &text]].concat();
            lines += &venue.must(&arguments, true);
        }
        let signatures = path(venue, "lines");
        fs::write(&signatures, lines).expect("a scratch file");
        let mut appended = vec!["hsm", "journal", "append", "--text", &text, "--signature", &signatures];
        appended.extend(journal);
        run(venue, &appended, code)
    };
    // The token made log-1 when the venue was made.
    let listed = venue.must(&["hsm", "list"], true);
    assert!(listed.contains("log-1") && listed.contains("never left the token"), "{listed}");
    let first = vkey(&venue.must(&["hsm", "public", "--key", "log-1", "--name", ORIGIN], true));
    let second = new_key(&venue, "log-2");
    let changes = [format!("add log {first} from 0"), format!("add recovery {recovery_key}")];
    append(&venue, &[&changes[0], &changes[1]], &["log-1"], 0);

    // Both keys are in the configuration; the second one's PIN is a credential.
    let config = venue.node.config_path().to_path_buf();
    let text = fs::read_to_string(&config).expect("it is there");
    let second_place = format!(
        "[[signing.keys]]\nmodule = \"{}\"\ntoken = \"venue\"\nkey = \"log-2\"\npin_credential = \"hsm-pin\"\n\n[genesis]",
        module().display()
    );
    fs::write(&config, text.replace("[genesis]", &second_place)).expect("a scratch file");
    let sign = |venue: &mut Venue| {
        venue.trade(20);
        let config = config.to_str().expect("UTF-8").to_owned();
        run(venue, &["sign", "--once", "--config", &config], 0);
        venue.checkpoint().expect("it signed")
    };
    let signed_by = |note: &Note, keys: &[&str]| {
        let keys: String = keys.iter().map(|key| format!("{key}\n")).collect();
        note.verify_all(&parse_keys(&keys).expect("keys")).is_ok()
    };
    let (note, checkpoint) = sign(&mut venue);
    assert!(signed_by(&note, &[&first]) && note.signatures.len() == 1, "the second is not in force yet");
    venue.must(&["receipt", "2", "--show", "time"], false);
    let (from, until) = (checkpoint.size + 1, checkpoint.size + 10_000);
    let (from, until) = (from.to_string(), until.to_string());
    let mut rotated = vec!["hsm", "rotate", "--old-key", "log-1", "--new-key", "log-2"];
    rotated.extend(["--from", &from, "--until", &until]);
    rotated.extend(journal);
    venue.must(&rotated, true);
    let (note, checkpoint) = sign(&mut venue);
    assert!(signed_by(&note, &[&first, &second]), "both sign in between");

    // The first key is stolen: the recovery key revokes it. What was signed by it counts for nothing from then on.
    let receipt = path(&venue, "receipt");
    let receipt_of = |venue: &Venue| {
        fs::write(&receipt, venue.must(&["receipt", "2", "--show", "time"], false)).expect("a scratch file");
    };
    receipt_of(&venue);
    let check = ["verify-receipt", &receipt, "--key-journal", journal[1]];
    run(&venue, &check, 0);
    let third = new_key(&venue, "log-3");
    let root = checkpoint.to_string().lines().nth(2).expect("a root").to_owned();
    let revoke = format!("revoke log {first} at {} {root}", checkpoint.size);
    let add = format!("add log {third} from 0");
    // Nobody but the recovery key may.
    let retire_alone = format!("revoke log {second} at 1 {root}");
    let mut proposed = vec!["hsm", "journal", "propose", "--change", &retire_alone];
    proposed.extend(journal);
    let text = path(&venue, "alone");
    fs::write(&text, run(&venue, &proposed, 0)).expect("a scratch file");
    let line = venue.must(&["hsm", "journal", "sign", "--key", "log-1", "--name", ORIGIN, &text], true);
    let lines = path(&venue, "alone-lines");
    fs::write(&lines, line).expect("a scratch file");
    let mut appended = vec!["hsm", "journal", "append", "--text", &text, "--signature", &lines];
    appended.extend(journal);
    assert!(run(&venue, &appended, 2).contains("not signed by safe"));
    append(&venue, &[&revoke, &add], &["log-3"], 0);
    let shown = run(&venue, &["hsm", "journal", "show", journal[0], journal[1], journal[2], journal[3]], 0);
    assert!(shown.contains(&format!("anchored    at size {}", checkpoint.size)), "{shown}");

    let text = fs::read_to_string(&config).expect("it is there");
    fs::write(&config, text.replace("key = \"log-1\"", "key = \"log-3\"")).expect("a scratch file");
    let early = path(&venue, "early");
    fs::write(&early, note.to_string()).expect("a scratch file");
    let (note, _) = sign(&mut venue);
    // Whoever kept the early checkpoint can be shown that this one grew out of it, by the key that signed both.
    let (proof, by) = (path(&venue, "proof"), path(&venue, "second.pub"));
    let grown = venue.must(&["consistency", &early], false);
    fs::write(&proof, &grown).expect("a scratch file");
    fs::write(&by, format!("{second}\n")).expect("a scratch file");
    let check_grown = ["verify-consistency", &proof, "--key", &by];
    assert!(run(&venue, &check_grown, 0).contains("grew out of size"));
    let at = grown.find('\n').expect("lines") + 3;
    let other = if grown.as_bytes()[at] == b'A' { "B" } else { "A" };
    fs::write(&proof, format!("{}{other}{}", &grown[..at], &grown[at + 1..])).expect("a scratch file");
    run(&venue, &check_grown, 1);
    assert!(
        signed_by(&note, &[&second, &third]) && !signed_by(&note, &[&first]),
        "the stolen key signs no more"
    );
    run(&venue, &check, 1);
    receipt_of(&venue);
    run(&venue, &check, 0);
}

/// Where the venue would rather stand still than trade unsigned.
#[test]
fn a_venue_may_be_halted_while_its_key_is_gone() {
    let mut venue = Venue::with("halt", |sections| {
        sections.replace("waiting_max = 5", "waiting_max = 2\nwhen_late = \"halt\"")
    });
    venue.start_signing();
    venue.trade(50);
    venue.all_is_signed();
    let (tokens, away) = (venue.dir.join("tokens"), venue.dir.join("away"));
    fs::rename(&tokens, &away).expect("taken out");
    fs::create_dir(&tokens).expect("an empty slot");
    let phase = |venue: &Venue| {
        let output = venue.must(&["inspect", "phases"], false);
        output.lines().find(|line| line.starts_with("ANVL")).expect("a line of it").to_owned()
    };
    assert!(phase(&venue).contains("continuous"), "{}", phase(&venue));
    let begun = Instant::now();
    while !phase(&venue).contains("halted") {
        assert!(begun.elapsed() < LONG, "{}\n{}", phase(&venue), venue.said());
        // Orders are refused from the halt on, so that no acknowledgement may be waited for.
        venue.driver.run(Until::Elapsed(Duration::from_millis(50)), |_| {});
    }
    assert!(venue.said().contains("trading is halted"), "{}", venue.said());
    // Put back: all of it is signed, and an operator lets trading go on.
    fs::remove_dir_all(&tokens).expect("the empty slot");
    fs::rename(&away, &tokens).expect("put back");
    venue.all_is_signed();
    venue.must(&["ctl", "phase", "all", "continuous"], false);
    assert!(phase(&venue).contains("continuous"), "{}", phase(&venue));
    assert_eq!(venue.end_signing("-TERM"), Some(0));
    venue.history_is_one();
}

/// Two nodes whose journals are not the same, and one key: what the first signed, the second must come to.
#[test]
fn a_fork_at_a_takeover_is_refused() {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let key = root.join("signing-fork.pem");
    let _ = fs::remove_file(&key);
    let ironbell = |arguments: &[&str], paths: &[&Path]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ironbell"));
        command.args(arguments).args(paths).output().expect("it runs")
    };
    let made = ironbell(&["hsm", "generate", "--name", ORIGIN, "--file"], &[&key]);
    assert!(made.status.success(), "{made:?}");
    let file = |name: &str| root.join(format!("signing-fork-{name}"));
    for name in ["log.pub", "witness.pem", "seen"] {
        let _ = fs::remove_file(file(name));
    }
    fs::write(file("log.pub"), &made.stdout).expect("a scratch file");
    let made = ironbell(&["hsm", "generate", "--name", "witness.example", "--file"], &[&file("witness.pem")]);
    assert!(made.status.success(), "{made:?}");
    let mut witness = WitnessProcess::start(&file, "127.0.0.1:0");

    let token_sections = sections(&root);
    let begin = token_sections.find("module = ").expect("a token");
    let end = token_sections.find("\n\n[genesis]").expect("a genesis");
    let sections =
        format!("{}file = \"{}\"{}", &token_sections[..begin], key.display(), &token_sections[end..]);
    let sections = sections.replace(
        "[[signing.keys]]",
        &format!(
            "[[signing.witnesses]]\nurl = \"{}\"\nkey = \"{}\"\n\n[[signing.keys]]",
            witness.url, witness.key
        ),
    );
    let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
    let [mut first, second] = ["fork-1", "fork-2"].map(|name| {
        let mut node = TrialNode::prepare(&root.join(format!("signing-{name}")), &sections, Some(program))
            .expect("a node");
        // Each has its own genesis, at a time of its own, and says at its end that it is committed.
        node.start().expect("it starts");
        assert_eq!(node.stop().expect("it ends"), 0);
        node
    });
    let sign = |node: &TrialNode, after: &[&Path]| {
        let arguments: &[&str] = if after.is_empty() {
            &["sign", "--once", "--config"]
        } else {
            &["sign", "--once", "--after", "AFTER", "--config"]
        };
        let arguments: Vec<String> = arguments
            .iter()
            .map(|word| if *word == "AFTER" { after[0].display().to_string() } else { (*word).to_owned() })
            .collect();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        ironbell(&words, &[node.config_path()])
    };
    let output = sign(&first, &[]);
    assert!(output.status.success(), "{output:?}");
    let files = |node: &TrialNode| node.config().data_dir.join("signing");
    let checkpoint = files(&first).join("checkpoint");
    let note = || Note::parse(&fs::read_to_string(&checkpoint).expect("it signed")).expect("a note");
    let witness_key = VerifierKey::parse(&witness.key).expect("a key");
    note().verify(&witness_key).expect("the witness cosigned it");

    // A venue that would show two histories is found out by whoever saw the first.
    let output = sign(&second, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("saw another history"), "{output:?}");
    assert!(!files(&second).join("checkpoint").exists(), "nothing is published");
    fs::remove_dir_all(files(&second)).expect("it is ours");

    let output = sign(&second, &[&checkpoint]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("another history"), "{output:?}");
    assert!(!files(&second).join("checkpoint").exists(), "nothing is signed");

    // A successor with the same journal and the same salts goes on where the first was.
    let journal = |node: &TrialNode| node.config().data_dir.join("journal");
    fs::remove_dir_all(files(&second)).expect("it is ours");
    fs::remove_dir_all(journal(&second)).expect("it is ours");
    let copied = Command::new("cp").arg("-r").args([journal(&first), journal(&second)]).status().expect("cp");
    assert!(copied.success());
    fs::create_dir(files(&second)).expect("a scratch directory");
    fs::copy(files(&first).join("salts"), files(&second).join("salts")).expect("the nodes share it");
    let output = sign(&second, &[&checkpoint]);
    assert!(output.status.success(), "{output:?}");
    let text = |node: &TrialNode| fs::read_to_string(files(node).join("head")).expect("it is there");
    assert_eq!(text(&first), text(&second), "the same head");

    // While the first node runs, what is signed stands in its journal: nobody has to hand over anything.
    // A witness that is gone holds up nothing, and goes on where it was once it is back.
    let address = witness.stop();
    first.start().expect("it starts");
    assert!(
        ironbell(&["ctl", "phase", "all", "halted", "--config"], &[first.config_path()]).status.success()
    );
    let output = sign(&first, &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(note().verify(&witness_key).is_err(), "nobody cosigned it");
    let silent = || {
        let status = first.status().expect("it runs");
        let signing = status.roles.into_iter().find(|role| role.role == "signing").expect("it counts");
        (signing.counters["witnesses"], signing.counters["witnesses_silent"])
    };
    assert_eq!(silent(), (1, 1));
    witness = WitnessProcess::start(&file, &address);
    assert!(
        ironbell(&["ctl", "phase", "all", "continuous", "--config"], &[first.config_path()]).status.success()
    );
    let output = sign(&first, &[]);
    assert!(output.status.success(), "{output:?}");
    note().verify(&witness_key).expect("the witness cosigns again");
    assert_eq!(silent(), (1, 0));
    assert_eq!(first.stop().expect("it ends"), 0);
    let dump = ironbell(&["journal", "grep", "--kind", "signed_head", "--count"], &[&journal(&first)]);
    assert!(dump.status.success(), "{dump:?}");
    let take_over = |with_salts: bool| {
        fs::remove_dir_all(files(&second)).expect("it is ours");
        fs::remove_dir_all(journal(&second)).expect("it is ours");
        let copied = Command::new("cp").arg("-r").args([journal(&first), journal(&second)]).status();
        assert!(copied.expect("cp").success());
        fs::create_dir(files(&second)).expect("a scratch directory");
        if with_salts {
            fs::copy(files(&first).join("salts"), files(&second).join("salts")).expect("they share it");
        }
        sign(&second, &[])
    };
    // A successor that would come to another root for that size signs nothing: here it has other salts.
    let output = take_over(false);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("another history"), "{output:?}");
    assert!(!files(&second).join("checkpoint").exists(), "nothing is signed");
    let output = take_over(true);
    assert!(output.status.success(), "{output:?}");
    let size = |node: &TrialNode| {
        let text = fs::read_to_string(files(node).join("checkpoint")).expect("it signed");
        Checkpoint::parse(&Note::parse(&text).expect("a note").text).expect("a checkpoint").size
    };
    assert!(size(&second) >= size(&first), "it goes on behind the other");
    witness.stop();
}

/// `ironbell witness`.
struct WitnessProcess {
    child: Child,
    url: String,
    key: String,
}

impl WitnessProcess {
    fn start(file: &dyn Fn(&str) -> PathBuf, address: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ironbell"))
            .args(["witness", "--name", "witness.example", "--listen", address, "--log-key"])
            .arg(file("log.pub"))
            .arg("--seen")
            .arg(file("seen"))
            .arg("--file")
            .arg(file("witness.pem"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut line = || lines.next().expect("a line").expect("UTF-8");
        let url = line().strip_prefix("ready: ").expect("it is ready").to_owned();
        Self { child, url, key: line() }
    }

    /// Ends it; where it listened.
    fn stop(&mut self) -> String {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        self.url.strip_prefix("http://").expect("a URL").to_owned()
    }
}

impl Drop for WitnessProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
