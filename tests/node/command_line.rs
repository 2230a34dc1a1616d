//! What an SRE meets on the command line: good order, and one clear line where something is wrong.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use ironbell_appliance::trial::TrialNode;

const GENESIS: &str = r#"
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }]
ports = [{ username = "ALFA01", password = "secret", firm = "ALFA", account = 1 }]
funds = [{ account = 1, asset = "USD", amount = "1000" }]
"#;

fn ironbell(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironbell")).args(args).output().expect("it runs")
}

/// Exit code 2 and one line on standard error that has every one of these in it.
fn assert_refused(output: &Output, parts: &[&str]) {
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}{}", String::from_utf8_lossy(&output.stdout));
    let lines: Vec<&str> = line.lines().filter(|l| l.starts_with("ironbell: ")).collect();
    assert_eq!(lines.len(), 1, "{line}");
    for part in parts {
        assert!(lines[0].contains(part), "{part:?} is not in: {line}");
    }
}

/// An empty folder of a test's own.
fn folder(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("command-line-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a folder");
    dir
}

fn config(dir: &Path, text: &str) -> String {
    let path = dir.join("node.toml");
    std::fs::write(&path, text).expect("a file of ours");
    path.to_str().expect("UTF-8").to_owned()
}

/// Every listener on a port that the kernel chooses, so that tests do not meet.
const ANY_PORTS: &str = "[order_entry]\nlisten = \"127.0.0.1:0\"\n[service]\nitch = \"127.0.0.1:0\"\nglimpse = \"127.0.0.1:0\"\n\
                         [feed]\nrerequest = \"127.0.0.1:0\"\n";

fn trial(name: &str) -> TrialNode {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("trial-{name}"));
    TrialNode::prepare(&dir, GENESIS, Some(Path::new(env!("CARGO_BIN_EXE_ironbell")))).expect("a node")
}

#[test]
fn a_bad_configuration_is_refused_with_file_line_and_field() {
    let dir = folder("config");
    assert_refused(&ironbell(&["run", "--config", "/nonexistent.toml"]), &["/nonexistent.toml", "--config"]);
    let path = config(&dir, "data_dir = \"d\"\n[journal]\ndurabilty = \"disk\"\n");
    assert_refused(&ironbell(&["run", "--config", &path]), &[&path, "line 3", "durabilty"]);
    let path = config(&dir, "[order_entry]\nlisten = \"0.0.0.0:26400\"\n");
    assert_refused(&ironbell(&["run", "--config", &path]), &["0.0.0.0", "allow_remote"]);
    let path = config(&dir, "");
    assert_refused(&ironbell(&["format", "--config", &path]), &["[genesis]"]);
    let path = config(&dir, &GENESIS.replace("firm = \"ALFA\"", "firm = \"OMEGA\""));
    assert_refused(&ironbell(&["format", "--config", &path]), &["ALFA01", "OMEGA"]);
    let twice = GENESIS.replace("[{ mpid = \"ALFA\" }]", "[{ mpid = \"ALFA\" }, { mpid = \"ALFA\" }]");
    let path = config(&dir, &twice);
    assert_refused(&ironbell(&["format", "--config", &path]), &["NameTaken"]);
    assert_eq!(std::fs::read_dir(&dir).expect("the folder").count(), 1, "only node.toml is there");
}

#[test]
fn a_node_wants_its_own_formatted_directory() {
    let dir = folder("format");
    let path = config(
        &dir,
        &format!("data_dir = \"data\"\n{ANY_PORTS}[journal]\nsegment_bytes = 4194304\n{GENESIS}"),
    );
    assert_refused(&ironbell(&["run", "--config", &path]), &["there is no journal", "ironbell format"]);
    let formatted = ironbell(&["format", "--config", &path]);
    assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
    assert_refused(&ironbell(&["format", "--config", &path]), &["not empty"]);
    let journal = std::fs::read(dir.join("data/journal").join(first_segment(&dir.join("data/journal"))))
        .expect("a segment");
    assert!(!journal.windows(6).any(|w| w.eq_ignore_ascii_case(b"secret")), "the password is in the journal");
    assert_eq!(std::fs::read_dir(&dir).expect("the folder").count(), 2, "node.toml and data");
}

fn first_segment(journal: &Path) -> String {
    let mut names: Vec<String> = std::fs::read_dir(journal)
        .expect("the journal")
        .filter_map(|entry| entry.ok().and_then(|e| e.file_name().into_string().ok()))
        .filter(|name| std::fs::metadata(journal.join(name)).is_ok_and(|m| m.len() >= 4 << 20))
        .collect();
    names.sort();
    names.first().expect("a segment").clone()
}

/// With a key file the journal tells nothing by itself, and everything with it.
#[test]
fn an_enciphered_journal_wants_its_key_file() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("trial-key");
    let keys = folder("key");
    let [key, other] = ["key", "other"].map(|name| keys.join(name).to_str().expect("UTF-8").to_owned());
    for key in [&key, &other] {
        assert!(ironbell(&["key", key]).status.success());
    }
    assert_refused(&ironbell(&["key", &key]), &[&key, "File exists"]);
    let sections = format!("key_file = {key:?}\n{GENESIS}");
    let program = Some(Path::new(env!("CARGO_BIN_EXE_ironbell")));
    let mut node = TrialNode::prepare(&dir, &sections, program).expect("a node");
    let journal = node.config().journal_dir();
    let segment = std::fs::read(journal.join("0000000001.segment")).expect("a segment");
    assert!(!segment.windows(6).any(|window| window == b"ALFA01"), "the genesis can be read on the disk");
    node.start().expect("it starts");
    assert_eq!(node.stop().expect("it ends"), 0);

    let data = node.config().data_dir.to_str().expect("UTF-8").to_owned();
    let replayed = ironbell(&["replay", &data, "--key-file", &key]);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    assert_refused(&ironbell(&["replay", &data]), &["enciphered", "key file"]);
    assert_refused(&ironbell(&["replay", &data, "--key-file", &other]), &["not wrapped by this key"]);
    let path = node.config_path().to_str().expect("UTF-8").to_owned();
    let ledger = ironbell(&["inspect", "ledger", "--config", &path]);
    assert!(String::from_utf8_lossy(&ledger.stdout).contains("USD"), "the stopped node's ledger is read");
    let text = std::fs::read_to_string(&path).expect("its configuration");
    std::fs::write(&path, text.replace(&key, &other)).expect("it is ours");
    assert_refused(&ironbell(&["run", "--config", &path]), &["not wrapped by this key"]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o444)).expect("it is ours");
    assert_refused(&ironbell(&["replay", &data, "--key-file", &key]), &[&key, "0400"]);
}

#[test]
fn a_taken_port_and_a_running_node_are_named() {
    let dir = folder("taken");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let ports = ANY_PORTS.replacen("127.0.0.1:0", &address, 1);
    let path =
        config(&dir, &format!("data_dir = \"data\"\n{ports}[journal]\nsegment_bytes = 4194304\n{GENESIS}"));
    assert!(ironbell(&["format", "--config", &path]).status.success());
    assert_refused(&ironbell(&["run", "--config", &path]), &["order_entry.listen", &address]);
    let ports = ANY_PORTS.replacen("itch = \"127.0.0.1:0\"", &format!("itch = \"{address}\""), 1);
    let path =
        config(&dir, &format!("data_dir = \"data\"\n{ports}[journal]\nsegment_bytes = 4194304\n{GENESIS}"));
    assert_refused(&ironbell(&["run", "--config", &path]), &["service.itch", &address]);

    let mut node = trial("locked");
    node.start().expect("it starts");
    let text = std::fs::read_to_string(node.config_path()).expect("its configuration");
    let data = node.config().data_dir.to_str().expect("UTF-8").to_owned();
    let other = text.replace("data_dir = \"data\"", &format!("data_dir = {data:?}"));
    let other: String = other
        .lines()
        .map(|line| match line.split_once('=') {
            Some((key, value)) if value.contains("127.0.0.1:") => format!("{key}= \"127.0.0.1:0\"\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let path = config(&dir, &other);
    assert_refused(&ironbell(&["run", "--config", &path]), &[&data]);
    assert_eq!(node.stop().expect("it ends"), 0);
}

#[test]
fn a_memory_file_system_is_refused_unless_asked_for() {
    let dir = Path::new("/dev/shm").join(format!("ironbell-test-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("/dev/shm is a memory file system");
    let text = format!("data_dir = \"data\"\n{ANY_PORTS}[journal]\nsegment_bytes = 4194304\n{GENESIS}");
    let path = config(&dir, &text);
    let refused = ironbell(&["format", "--config", &path]);
    let left = std::fs::read_dir(&dir).expect("the folder").count();
    let path = config(&dir, &text.replace("[journal]\n", "[journal]\ndurability = \"none\"\n"));
    let asked_for = ironbell(&["format", "--config", &path]);
    std::fs::remove_dir_all(&dir).expect("it is ours");
    assert_refused(&refused, &["tmpfs", "durability"]);
    assert_eq!(left, 1, "nothing half-written is left");
    assert!(asked_for.status.success(), "{}", String::from_utf8_lossy(&asked_for.stderr));
}

#[test]
fn a_full_disk_and_a_missing_permission_are_named() {
    // A file system of 6 MiB in a mount namespace of its own: segments of 4 MiB do not fit.
    let dir = folder("full");
    let config_text = format!(
        "data_dir = \"small/data\"\n{ANY_PORTS}[journal]\ndurability = \"none\"\nsegment_bytes = 8388608\n{GENESIS}"
    );
    let path = config(&dir, &config_text);
    std::fs::create_dir(dir.join("small")).expect("a folder");
    let script = format!(
        "mount -t tmpfs -o size=6m none '{0}/small' && '{1}' format --config '{path}'; code=$?; ls '{0}/small' | wc -l >&2; exit $code",
        dir.display(),
        env!("CARGO_BIN_EXE_ironbell")
    );
    let full = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .output()
        .expect("unshare (util-linux) is there");
    assert_refused(&full, &["small", "space"]);
    assert!(String::from_utf8_lossy(&full.stderr).trim_end().ends_with('0'), "something is left behind");

    if rustix::process::geteuid().is_root() {
        // A copy that an ordinary user can reach and run, for a folder that it cannot.
        let place = |name: &str| std::env::temp_dir().join(format!("ironbell-{}-{name}", std::process::id()));
        let (program, config_copy, closed) = (place("program"), place("node.toml"), place("closed"));
        std::fs::copy(env!("CARGO_BIN_EXE_ironbell"), &program).expect("a copy");
        std::fs::create_dir(&closed).expect("a folder");
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).expect("ours");
        let data = closed.join("data");
        std::fs::write(&config_copy, format!("data_dir = {data:?}\n{ANY_PORTS}{GENESIS}")).expect("a file");
        let output = Command::new(&program)
            .args(["format", "--config"])
            .arg(&config_copy)
            .uid(65_534)
            .gid(65_534)
            .output();
        std::fs::remove_file(&program).expect("ours");
        std::fs::remove_file(&config_copy).expect("ours");
        std::fs::remove_dir(&closed).expect("ours, and empty");
        assert_refused(&output.expect("it runs"), &[closed.to_str().expect("UTF-8"), "ermission"]);
    }
}

#[test]
fn damage_inside_the_journal_is_refused_with_its_place() {
    let mut node = trial("damage");
    node.start().expect("it starts");
    assert_eq!(node.stop().expect("it ends"), 0);
    let journal = node.config().journal_dir();
    let segment = journal.join(first_segment(&journal));
    let mut bytes = std::fs::read(&segment).expect("the segment");
    // The first frame's payload: what was acknowledged long ago.
    let at = 2 * 4_096 + 300;
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).expect("ours");
    let config = node.config_path().to_str().expect("UTF-8").to_owned();
    let segment = segment.to_str().expect("UTF-8");
    assert_refused(&ironbell(&["run", "--config", &config]), &[segment, "byte 8192", "Seq 1"]);
    assert_refused(&ironbell(&["inspect", "journal", "--config", &config]), &[segment]);
    assert_refused(&ironbell(&["replay", journal.to_str().expect("UTF-8")]), &[segment]);
}

#[test]
fn too_few_files_for_the_sessions_are_refused_before_members_meet_it() {
    let dir = folder("files");
    let path = config(&dir, "[order_entry]\nsessions_max = 1000\n");
    let script = format!("ulimit -n 1024; exec '{}' run --config '{path}'", env!("CARGO_BIN_EXE_ironbell"));
    let refused = Command::new("sh").args(["-c", &script]).output().expect("it runs");
    assert_refused(&refused, &["sessions_max = 1000", "1024", "ulimit -n"]);
}

/// The services share the process's file descriptors with the order path.
#[test]
fn the_services_take_so_many_connections_and_no_more() {
    let mut node = trial("connections");
    node.start().expect("it starts");
    let status = node.status().expect("it answers");
    for address in [&status.itch, &status.glimpse] {
        let connect = || TcpStream::connect(address).expect("the kernel takes it");
        let _kept: Vec<TcpStream> = (0..128).map(|_| connect()).collect();
        let mut further = connect();
        further.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket of ours");
        assert_eq!(further.read(&mut [0]).expect("it is closed, not left waiting"), 0);
    }
    assert_eq!(node.stop().expect("it ends"), 0);
}

#[test]
fn sigterm_seals_and_what_is_inspected_is_the_same_running_or_stopped() {
    let mut node = trial("inspect");
    node.start().expect("it starts");
    let config = node.config_path().to_str().expect("UTF-8").to_owned();
    let out = |args: &[&str]| {
        let output = ironbell(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let status = out(&["status", "--config", &config]);
    for part in ["order entry", "durability", "self-check", "gateway_out", "thread"] {
        assert!(status.contains(part), "{part} is not in {status}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&out(&["status", "--json", "--config", &config])).expect("JSON");
    assert_eq!(json["epoch"], 2, "the genesis was written in epoch 1");
    let running = out(&["inspect", "ledger", "--config", &config]);
    assert!(running.contains("world") && running.contains("-1000"), "{running}");
    let views = ["ledger", "book", "risk", "phases", "statement"];
    let whence = |view: &str| {
        let output = ironbell(&["inspect", view, "--config", &config]);
        (String::from_utf8_lossy(&output.stderr).into_owned(), output.stdout)
    };
    let live = views.map(whence);
    assert!(live.iter().all(|(said, _)| said.starts_with("from the running node, at seq ")), "{live:?}");
    assert_eq!(node.stop().expect("it ends"), 0);
    let replayed = views.map(whence);
    assert!(replayed.iter().all(|(said, _)| said.starts_with("from its journal, ")), "{replayed:?}");
    assert_eq!(replayed.map(|(_, shown)| shown), live.map(|(_, shown)| shown));
    assert_eq!(
        out(&["inspect", "book", "--config", &config]).lines().count(),
        1,
        "an empty book is a heading"
    );
    assert_refused(&ironbell(&["status", "--config", &config]), &["admin.sock"]);
    assert_refused(&ironbell(&["ctl", "close-day", "--config", &config]), &["admin.sock", "ironbell run"]);
    assert_refused(&ironbell(&["inspect", "statement", "9", "--config", &config]), &["no account 9"]);
    let frames = out(&["inspect", "journal", "--json", "--config", &config]);
    let last: serde_json::Value =
        serde_json::from_str(frames.lines().last().expect("a frame")).expect("JSON");
    let data = node.config().data_dir.to_str().expect("UTF-8").to_owned();
    let replayed: serde_json::Value = serde_json::from_str(&out(&["replay", &data, "--json"])).expect("JSON");
    assert_eq!(last["commit_seq"], replayed["seq"], "the last frame carries the commit of everything");
    assert_refused(&ironbell(&["replay", &data, "--shards", "33"]), &["--shards 33", "1 to 32"]);
    assert!(out(&["help"]).contains("replay-lobster"));
}

/// An operator's whole day: each command is journaled, so the same holds after a restart.
#[test]
fn operators_speak_in_words_and_hear_what_was_done() {
    let mut node = trial("ctl");
    node.start().expect("it starts");
    let config = node.config_path().to_str().expect("UTF-8").to_owned();
    let ctl = |line: &str| {
        let words = ["ctl", "--config", &config].into_iter().chain(line.split(' ')).collect::<Vec<_>>();
        ironbell(&words)
    };
    let done = |line: &str| {
        let output = ctl(line);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(said.starts_with("seq "), "{said}");
        said
    };
    for (line, part) in [
        ("rules ANVL --reference 150.25 --static 20% --limit-state 15s", "reference 150.25, static 20%"),
        ("rules ANVL --collar 5%", "reference 150.25, static 20%, collar 5%"),
        ("port alfa01 --rate 1000 --burst 100 --duplicates 5/1s --slide --stp oldest", "stp oldest"),
        ("exposure ALFA USD --gross 5000 --net none", "gross exposure 5000.0000 USD"),
        ("credit 1 USD 500", "credit 500.0000 USD"),
        ("position 1 ANVL --long 100", "long 100, short no limit"),
        ("restrict all ANVL on", "restricted list of every firm"),
        ("entitle ALFA01 ANVL off", "may not trade"),
        ("locate ALFA ANVL 1000 --id 1", "1000 of ANVL located"),
        (
            "fees ANVL --tier 1 --maker 1bp --taker 0.03% --minimum 0.01",
            "maker 1bp, taker 3bp, minimum 0.0100",
        ),
        ("tier 1 1000", "tier 1 from 1000 lots"),
        ("firm-tier ALFA 1", "ALFA is in tier 1"),
        ("decline-levels 4000 3500.5 3000", "3500.50000000"),
        ("asset add BELL --decimals 0", "asset BELL"),
        ("instrument add BELL --base BELL --quote USD --tick 0.01", "instrument BELL"),
        ("firm add BETA", "firm BETA"),
        ("account add 2 --firm BETA", "account 2 of BETA"),
        ("fund 2 USD 100.5 --id 77", "100.5000 USD"),
        ("phase BELL halted --reason T1", "BELL is halted"),
        ("phase all continuous", "BELL is continuous"),
        ("kill instrument BELL on", "is killed"),
        ("kill venue off", "may go on"),
        ("market-wide-halt 1", "ANVL is halted"),
        ("delist BELL", "BELL is delisted"),
        ("schedule ANVL 09:25 opening-auction", "09:25:00 opening-auction"),
        ("close-day", "the day is closed"),
        ("tick ANVL 0.05", "the tick is 0.05"),
        ("symbol ANVL HAMR", "HAMR"),
        ("open-day 2099-01-02", "2099-01-02"),
    ] {
        let said = done(line);
        assert!(said.contains(part), "{line}: {said}");
    }
    for (line, part) in [
        ("phase ANVL halted", "no instrument ANVL"),
        ("fund 2 USD 100.5 --id 77", "used before"),
        ("fund 2 USD -1000", "more than is available"),
        ("bust 5 --reason E", "no trade of this day"),
        ("fees HAMR --maker -1bp", "together be below 0"),
        ("tick HAMR 0.10", "close-day"),
        ("rules HAMR --reference 1.01", "no whole number of ticks of 0.05"),
    ] {
        assert_refused(&ctl(line), &[part]);
    }
    // A port whose password is read, and never journaled.
    let mut add = Command::new(env!("CARGO_BIN_EXE_ironbell"))
        .args(["ctl", "--config", &config, "port", "add", "BETA01", "--firm", "BETA", "--account", "2"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    std::io::Write::write_all(&mut add.stdin.take().expect("it is piped"), b"geheim\n").expect("it reads");
    let added = add.wait_with_output().expect("it ends");
    assert!(String::from_utf8_lossy(&added.stdout).contains("port BETA01 of BETA, account 2"));
    let sent = ctl("kill venue on --no-wait");
    assert!(sent.status.success() && String::from_utf8_lossy(&sent.stdout).contains("not waited for"));
    let json = ctl("kill venue off --json");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(json["done"]["seq"].as_u64().is_some(), "{json}");

    let risk = |config: &str| ironbell(&["inspect", "risk", "--json", "--config", config]).stdout;
    let before = risk(&config);
    let text = String::from_utf8(before.clone()).expect("UTF-8");
    for part in [
        "\"gross exposure USD\",\"limit\":\"5000.0000\"",
        "order entry",
        "BETA01",
        "located HAMR",
        "1000/s, burst 100",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    node.kill();
    node.start().expect("it starts again");
    assert_eq!(risk(&config), before);
    assert_eq!(node.stop().expect("it ends"), 0);
}

/// What a package is made of: a manual for each command that a person is shown, which groff sets without a complaint, and
/// completions that their shell can read.
#[test]
fn every_command_has_a_manual_page_and_completions() {
    let dir = folder("pages");
    let made = ironbell(&["pages", dir.to_str().expect("UTF-8")]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let help = String::from_utf8(ironbell(&["help"]).stdout).expect("UTF-8");
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = commands
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    let names: Vec<&str> = names.filter(|name| *name != "help").collect();
    assert!(names.len() > 20, "{help}");
    for name in names {
        let page = dir.join(format!("man/ironbell-{name}.1"));
        assert!(page.exists(), "{} is missing", page.display());
    }
    assert!(dir.join("man/ironbell-ctl-kill.1").exists() && !dir.join("man/ironbell-pages.1").exists());
    let mut pages: Vec<PathBuf> = std::fs::read_dir(dir.join("man"))
        .expect("pages")
        .map(|page| page.expect("an entry").path())
        .collect();
    pages.sort();
    let set = Command::new("groff")
        .args(["-man", "-Tutf8", "-ww"])
        .args(&pages)
        .output()
        .expect("groff: run tests/setup.sh");
    let (text, said) = (String::from_utf8_lossy(&set.stdout), String::from_utf8_lossy(&set.stderr));
    assert!(set.status.success() && said.is_empty(), "{said}");
    assert!(text.contains("Tell how a running node is"), "{text}");
    let bash = dir.join("completions/ironbell.bash");
    assert!(Command::new("bash").arg("-n").arg(&bash).status().expect("bash").success());
    for shell in ["zsh", "fish"] {
        let script =
            std::fs::read_to_string(dir.join(format!("completions/ironbell.{shell}"))).expect("a file");
        assert!(script.contains("switchover"), "{shell}: {script}");
    }
}
