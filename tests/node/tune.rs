//! What `ironbell tune` says of the machine that the tests run on.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn ironbell(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironbell")).args(args).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn folder(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tune-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a folder");
    dir
}

/// A profile with one item: what the kernel calls itself.
fn profile(dir: &Path, wanted: &str) -> String {
    let path = dir.join("own.toml");
    let text = format!(
        "name = \"own\"\nsummary = \"a test's\"\n[[item]]\nid = \"kernel-name\"\nwhat = \"it is {wanted}\"\nwhy = \"To see.\"\n\
         level = \"required\"\nprobe = {{ kind = \"text\", path = \"/proc/sys/kernel/ostype\", one_of = [\"{wanted}\"] }}\n\
         fix.note = \"another kernel\"\n"
    );
    std::fs::write(&path, text).expect("a file of ours");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn the_doctor_reads_this_machine_and_its_exit_code_says_whether_it_is_fit() {
    let dir = folder("doctor");
    let fit = ironbell(&["tune", "doctor", "--profile", &profile(&dir, "Linux")]);
    assert!(fit.status.success(), "{}", text(&fit.stderr));
    assert!(text(&fit.stdout).contains("pass  kernel-name  Linux"), "{}", text(&fit.stdout));
    let unfit = ironbell(&["tune", "doctor", "--profile", &profile(&dir, "Plan 9"), "--json"]);
    assert_eq!(unfit.status.code(), Some(1));
    assert!(text(&unfit.stderr).contains("not fit for own: kernel-name"), "{}", text(&unfit.stderr));
    let report: serde_json::Value = serde_json::from_slice(&unfit.stdout).expect("JSON");
    assert_eq!(report["findings"][0]["found"], "Linux");
    assert_eq!(report["findings"][0]["fix"][0], "another kernel");

    let lab = ironbell(&["tune", "doctor", "--profile", "lab"]);
    assert!(text(&lab.stdout).contains("pass  kernel-io-uring"), "{}", text(&lab.stdout));
    for (args, part) in [
        (["--profile", "laptop"], "lab, production"),
        (["--cpus", "7000"], "no CPU 7000"),
        (["--cpus", "two"], "two"),
        (["--nic", "wire9"], "no network device wire9"),
    ] {
        let refused = ironbell(&[&["tune", "doctor"], &args[..]].concat());
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(text(&refused.stderr).contains(part), "{part} in {}", text(&refused.stderr));
    }
}

/// `chronyc -c tracking` of chrony 4.3, in four states; what the doctor says of the clock's offset and of its bound.
const CLOCKS: [(&str, &str, &str); 4] = [
    // Nobody was heard: an offset of nothing, which is no good one.
    (
        "00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,1.000000000,1.000000000,0.0,Not synchronised",
        "fail unsynchronised",
        "warn unsynchronised",
    ),
    (
        "C0000201,192.0.2.1,2,1795310880.1,-0.000012000,0.000001,0.000002,1.5,0.0,0.1,0.000040000,0.000030000,16.2,Normal",
        "pass 12",
        "pass 62",
    ),
    // The estimate is good, the way to the server long.
    (
        "C0000201,192.0.2.1,2,1795310880.1,0.000012000,0.000001,0.000002,1.5,0.0,0.1,0.012000000,0.000030000,16.2,Normal",
        "pass 12",
        "warn 6042",
    ),
    (
        "C0000201,192.0.2.1,2,1795310880.1,-0.000250000,0.000001,0.000002,1.5,0.0,0.1,0.000040000,0.000030000,16.2,Normal",
        "fail 250",
        "warn 300",
    ),
];

#[test]
fn a_clock_is_fit_by_what_chrony_reckons_and_never_while_it_hears_nobody() {
    let dir = folder("clock");
    let chronyc = dir.join("chronyc");
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").expect("a search path"));
    for (tracking, offset, bound) in CLOCKS {
        std::fs::write(&chronyc, format!("#!/bin/sh\necho '{tracking}'\n")).expect("a file of ours");
        std::fs::set_permissions(&chronyc, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("a file of ours");
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_ironbell"));
        let said = doctor.args(["tune", "doctor", "--profile", "production", "--json"]).env("PATH", &path);
        let said = said.output().expect("it runs");
        let report: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON");
        for (id, wanted) in [("clock-offset", offset), ("clock-bound", bound)] {
            let findings = report["findings"].as_array().expect("a list");
            let found = findings.iter().find(|finding| finding["id"] == id).expect("an item of the profile");
            let told = format!("{} {}", found["verdict"], found["found"]).replace('"', "");
            assert_eq!(told, wanted, "{id} of {tracking}");
        }
    }
}

#[test]
fn no_spinner_is_put_where_a_thread_has_the_cpu_to_itself() {
    let dir = folder("ticks");
    let own = dir.join("own.toml");
    let text = "name = \"own\"\nsummary = \"a test's\"\n[[item]]\nid = \"ticks\"\nwhat = \"no tick\"\nwhy = \"To see.\"\n\
                level = \"required\"\nprobe = { kind = \"ticks\", max_per_s = 0 }\nfix.note = \"none\"\n";
    std::fs::write(&own, text).expect("a file of ours");
    let mut sleeper = Command::new("taskset").args(["-c", "0", "sleep", "60"]).spawn().expect("util-linux");
    std::thread::sleep(std::time::Duration::from_millis(200));
    let own = own.to_str().expect("UTF-8");
    let said = ironbell(&["tune", "doctor", "--profile", own, "--cpus", "0", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let (verdict, found) = (&report["findings"][0]["verdict"], report["findings"][0]["found"].to_string());
    sleeper.kill().expect("it is ours");
    sleeper.wait().expect("it is ours");
    // Under a spinner the CPU of a usual kernel ticks. One that slept all the while is seen to have had no tick.
    let slept = verdict == "pass" && found.contains("CPU 0: 0");
    assert!(slept || verdict == "skip" && found.contains("asked when the node starts"), "{verdict}: {found}");
}

#[test]
fn a_node_of_a_profile_does_not_start_on_a_machine_that_does_not_meet_it() {
    let dir = folder("node");
    let own = profile(&dir, "Plan 9");
    let config = dir.join("node.toml");
    std::fs::write(&config, format!("[host]\nprofile = \"{own}\"\nsettle = \"off\"\n"))
        .expect("a file of ours");
    let refused = ironbell(&["run", "--config", config.to_str().expect("UTF-8")]);
    let line = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{line}");
    for part in ["kernel-name (Linux)", "tune doctor", config.to_str().expect("UTF-8")] {
        assert!(line.contains(part), "{part} in {line}");
    }
    // A machine that meets it is refused for the next reason only: there is no journal.
    std::fs::write(&config, format!("[host]\nprofile = \"{}\"\n", profile(&dir, "Linux")))
        .expect("a file of ours");
    let next = ironbell(&["run", "--config", config.to_str().expect("UTF-8")]);
    assert!(text(&next.stderr).contains("there is no journal"), "{}", text(&next.stderr));
}

#[test]
fn what_comes_by_itself_is_waited_for_and_what_takes_a_reboot_is_not() {
    let dir = folder("settle");
    let (own, state, config) = (dir.join("own.toml"), dir.join("state"), dir.join("node.toml"));
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("a file of ours");
    let item = |fix: &str| {
        format!(
            "name = \"own\"\nsummary = \"a test's\"\n[[item]]\nid = \"state\"\nwhat = \"it is set\"\nwhy = \"To see.\"\n\
             level = \"required\"\nprobe = {{ kind = \"text\", path = {state:?}, one_of = [\"set\"] }}\n{fix}\n"
        )
    };
    write(&config, &format!("[host]\nprofile = {own:?}\nsettle = \"1h\"\n"));
    write(&own, &item("fix.note = \"wait\""));
    write(&state, "unset");
    let config = config.to_str().expect("UTF-8");
    let mut node = Command::new(env!("CARGO_BIN_EXE_ironbell"));
    let mut node = node.args(["run", "--config", config]).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut said =
        BufReader::new(node.stderr.take().expect("piped")).lines().map(|line| line.expect("UTF-8"));
    let first = said.next().expect("it says that it waits");
    assert!(first.contains("waiting") && first.contains("state (unset)"), "{first}");
    write(&state, "set");
    // It goes on, and is refused for the next reason: there is no journal.
    let rest: String = said.collect();
    assert!(rest.contains("there is no journal"), "{rest}");
    node.wait().expect("it is ours");

    write(&own, &item("fix.kernel = [\"state=set\"]"));
    write(&state, "unset");
    let refused = ironbell(&["run", "--config", config]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("does not meet it: state (unset)"), "{}", text(&refused.stderr));
}

#[test]
fn a_placement_that_is_proposed_is_one_that_a_node_takes() {
    let dir = folder("topology");
    let proposed = ironbell(&["tune", "topology"]);
    assert!(proposed.status.success(), "{}", text(&proposed.stderr));
    let config = dir.join("node.toml");
    std::fs::write(&config, &proposed.stdout).expect("a file of ours");
    let taken = ironbell(&["topology", "--config", config.to_str().expect("UTF-8")]);
    assert!(taken.status.success(), "{}{}", text(&proposed.stdout), text(&taken.stderr));
}

#[test]
fn hiccups_are_told_and_logged_for_the_usual_tools() {
    let dir = folder("jitter");
    let log = dir.join("host.hlog");
    let log = log.to_str().expect("UTF-8");
    let seen = ironbell(&["tune", "jitter", "--seconds", "1", "--hlog", log, "--json"]);
    assert!(seen.status.success(), "{}", text(&seen.stderr));
    let out = text(&seen.stdout);
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line["max_ns"].as_u64() > Some(0)), "{out}");
    let log = std::fs::read_to_string(log).expect("a log");
    for line in &lines {
        assert!(log.contains(&format!("Tag=cpu{},", line["cpu"])), "{log}");
    }
}

#[test]
fn what_is_to_be_done_is_printed_as_a_shell_script_and_not_done() {
    let dir = folder("apply");
    let printed = ironbell(&["tune", "apply", "--profile", &profile(&dir, "Plan 9")]);
    let script = text(&printed.stdout);
    assert!(printed.status.success() && script.starts_with("#!/bin/sh\n"), "{script}");
    assert!(script.contains("# By hand: another kernel"), "{script}");
}
