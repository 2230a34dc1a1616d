//! The latency lab from its command line: a node under load, a venue elsewhere under load, records that other
//! tools read, a report, and a comparison that says when there is nothing to say.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ironbell_appliance::bench::wire::Results;
use ironbell_appliance::trial::TrialNode;
use ironbell_load::lobster::generate;
use ironbell_load::record::Record;

/// One at a time: each is a node and a load that want the machine for themselves.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn dir(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a folder of ours");
    dir
}

fn ironbell(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironbell")).args(args).current_dir(dir).output().expect("it runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn bench(dir: &Path, args: &[&str]) -> String {
    let mut all = vec!["bench", "run", "--dir", "node", "--set", "journal.durability=none"];
    all.extend(args);
    let output = ironbell(&all, dir);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    said(&output)
}

#[test]
fn a_run_leaves_everything_that_its_readers_want() {
    let _turn = turn();
    let dir = dir("run");
    let told = bench(&dir, &["--rate", "1000,2000", "--seconds", "1.2", "--warmup", "0.2", "--out", "out"]);
    assert!(told.contains("order_to_book") && told.contains("every answer right"), "{told}");
    let record = Record::read(&dir.join("out/run.json")).expect("a record");
    assert!(record.is_right());
    assert_eq!(record.steps.iter().map(|step| step.rate).collect::<Vec<_>>(), [1_000.0, 2_000.0]);
    for step in &record.steps {
        let names: Vec<&str> = step.latencies.keys().map(String::as_str).collect();
        for name in
            ["order_to_ack", "order_to_book", "cancel_to_out", "order_to_fill", "order_to_ack_from_sent"]
        {
            assert!(names.contains(&name), "{name} of {names:?}");
        }
        let stages: Vec<&str> = step.stages.iter().map(|(name, _)| name.as_str()).collect();
        let way = ["gateway_in", "sequenced", "executed", "durable", "released", "gateway_out", "feed_out"];
        assert_eq!(stages, way);
        let [order, book] = ["order_to_ack", "order_to_book"].map(|name| step.latencies[name].count);
        assert!(book * 2 > order && book <= order, "adds are on the feed, takers are not: {book} of {order}");
        assert!(step.hiccups.count > 1_000 && !step.over_time.is_empty() && step.sent > 100);
        // The two clocks of an order agree: from the intended time it is never less than from the actual one.
        let mean = |name: &str| step.latencies[name].mean;
        assert!(mean("order_to_ack") >= mean("order_to_ack_from_sent"));
    }
    assert!(!record.host.kernel.is_empty() && !record.venue.threads.is_empty());
    let check =
        |id: &str| record.host.checks.iter().find(|check| check.id == id).expect("an item of the profile");
    assert_eq!(check("kernel-io-uring").verdict, "pass");
    assert_eq!(check("data-file-system").verdict, "pass", "that of the node's data directory");
    assert_eq!((record.venue.durability.as_str(), record.build.program_sha256.len()), ("none", 64));
    assert!(dir.join("out/hgrm/order_to_ack@1000.hgrm").exists());
    let html = std::fs::read_to_string(dir.join("out/report.html")).expect("a report");
    assert!(html.contains("order_to_book") && html.contains(&record.build.program_sha256));

    // The interval log, read by an independent reader.
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/setup.sh", python.display());
    let script = "
import sys
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
reader, counts = HistogramLogReader(sys.argv[1], HdrHistogram(1, 60000000000, 3)), {}
while (interval := reader.get_next_interval_histogram()) is not None:
    counts[interval.get_tag()] = counts.get(interval.get_tag(), 0) + interval.get_total_count()
print(*[f'{tag}={count}' for tag, count in sorted(counts.items())])
";
    let output = Command::new(python).args(["-c", script, "out/run.hlog"]).current_dir(&dir).output();
    let output = output.expect("python runs");
    let counted = |n: usize| record.steps[n].latencies["order_to_ack"].count;
    let expected = format!("order_to_ack@1000={} order_to_ack@2000={}", counted(0), counted(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{}", said(&output));

    // The same against itself: no difference where there is nothing to say.
    let output = ironbell(&["bench", "compare", "out/run.json", "out/run.json"], &dir);
    assert!(said(&output).contains("nothing can be said"), "{}", said(&output));
    let output = ironbell(&["bench", "report", "out/run.json", "out/run.json", "--out", "two.html"], &dir);
    assert!(output.status.success() && dir.join("two.html").exists(), "{}", said(&output));
}

#[test]
fn every_flow_runs_against_a_node_without_a_violation() {
    let _turn = turn();
    let dir = dir("flows");
    std::fs::write(dir.join("times.csv"), "0.1,1\n0.2,1\n0.25,1\n0.9,1\n").expect("a file of ours");
    std::fs::write(dir.join("messages.csv"), generate(1, 1_000, 10).messages).expect("a file of ours");
    for (flow, arrivals) in [
        ("exchange-core:100", "constant"),
        ("exchange-core-readme:50", "poisson"),
        ("lobster:messages.csv", "recorded"),
        ("harsh:25", "poisson"),
        ("hostile", "bursts:50:20"),
        ("market:1:1:1:1", "recorded:times.csv"),
    ] {
        bench(
            &dir,
            &[
                "--instruments",
                "1",
                "--flow",
                flow,
                "--arrivals",
                arrivals,
                "--rate",
                "3000",
                "--warmup",
                "0",
                "--seconds",
                "1",
                "--out",
                "out",
                "--no-feed",
            ],
        );
        let record = Record::read(&dir.join("out/run.json")).expect("a record");
        let step = &record.steps[0];
        assert!(step.violations.is_empty() && step.trades > 0, "{flow}: {:?}", step.violations);
        // What was meant hangs on the seed alone, what was sent on the machine too.
        assert!((1_500..6_000).contains(&step.intended) && step.sent > 0, "{flow}: {} meant", step.intended);
        assert!(flow != "hostile" || step.rejects > 0, "orders without funds are refused: {}", step.rejects);
    }
}

/// What is beside the usual: a member who reacts to the feed, the kernel's timestamps, and every sample by itself.
#[test]
fn ticks_are_traded_on_stamps_are_read_and_samples_are_kept() {
    let _turn = turn();
    let dir = dir("beside");
    let beside = ["--reactions", "200", "--kernel-timestamps", "--samples"];
    bench(
        &dir,
        &[&beside[..], &["--rate", "1000", "--seconds", "1.5", "--warmup", "0.3", "--out", "out"]].concat(),
    );
    let record = Record::read(&dir.join("out/run.json")).expect("a record");
    let latencies = &record.steps[0].latencies;
    assert!(record.is_right() && latencies["tick_to_trade"].count > 0, "{}", record.verdict());
    // A stamp is of the first of what came together; and the kernel had it before we did.
    let [acks, at_kernel] = ["order_to_ack", "order_to_ack_at_kernel"].map(|name| &latencies[name]);
    assert!((1..=acks.count).contains(&at_kernel.count) && at_kernel.max <= acks.max, "{at_kernel:?}");
    assert!(latencies["kernel_to_taken"].count >= at_kernel.count);
    let samples = std::fs::read(dir.join("out/samples.parquet")).expect("samples");
    assert!(samples.starts_with(b"PAR1") && samples.ends_with(b"PAR1"));
}

/// Two hundred sessions: each a socket of its own, asked for by the kernel's list of who has input.
#[test]
fn many_sessions_are_answered_each_on_its_own() {
    let _turn = turn();
    let dir = dir("sessions");
    bench(
        &dir,
        &[
            "--sessions",
            "200",
            "--instruments",
            "2",
            "--rate",
            "2000",
            "--warmup",
            "0",
            "--seconds",
            "1",
            "--out",
            "out",
        ],
    );
    let record = Record::read(&dir.join("out/run.json")).expect("a record");
    assert!(record.is_right() && record.steps[0].sent > 0, "{}", record.verdict());
}

#[test]
fn two_settings_are_measured_in_turn_and_compared() {
    let _turn = turn();
    let dir = dir("versus");
    let told = bench(
        &dir,
        &[
            "--rate",
            "500",
            "--seconds",
            "0.3",
            "--warmup",
            "0",
            "--repeats",
            "2",
            "--no-hiccups",
            "--no-feed",
            "--vs-set",
            "metrics.latency=false",
            "--out",
            "out",
        ],
    );
    assert!(told.contains("too few") && told.contains("metrics.latency=false"), "{told}");
    let [now, other] = ["now", "vs"]
        .map(|side| Record::read(&dir.join("out").join(side).join("run.json")).expect("a record"));
    assert_eq!((now.steps.len(), other.steps.len()), (2, 2));
    assert!(now.steps.iter().all(|step| step.stages.len() > 4));
    assert!(
        other.steps.iter().all(|step| step.stages.is_empty()),
        "nothing is counted where it is not wanted"
    );
}

/// `bench market` prints what a node elsewhere needs; `load` is then any member's.
#[test]
fn a_venue_elsewhere_is_put_under_load() {
    let _turn = turn();
    let dir = dir("elsewhere");
    let market = ["bench", "market", "--sessions", "3", "--instruments", "2"];
    let genesis = said(&ironbell(&market, &dir));
    let (order_entry, genesis) = genesis.split_once("[genesis]").expect("a genesis");
    assert!(order_entry.contains("sessions_max"), "{order_entry}");
    let logins = said(&ironbell(&[&market[..], &["--logins"]].concat(), &dir));
    std::fs::write(dir.join("logins"), logins).expect("a file of ours");
    let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
    let mut node =
        TrialNode::prepare(&dir.join("node"), &format!("[genesis]{genesis}"), Some(program)).expect("a node");
    node.start().expect("it starts");
    let addr = node.config().order_entry.listen.to_string();
    let load =
        ["load", &addr, "--logins", "logins", "--instrument", "I00000=100", "--instrument", "I00001=50:0.01"];
    let output = ironbell(
        &[&load[..], &["--rate", "500", "--warmup", "0", "--seconds", "1", "--json", "--out", "out"]]
            .concat(),
        &dir,
    );
    assert!(output.status.success(), "{}", said(&output));
    let record: Record = serde_json::from_slice(&output.stdout).expect("a record on standard output");
    assert!(record.is_right() && record.steps[0].sent > 0 && record.steps[0].stages.is_empty());
    // Again, by the same members: what they hear first is the end of the run before.
    let output = ironbell(&[&load[..], &["--rate", "500", "--warmup", "0", "--seconds", "1"]].concat(), &dir);
    assert!(output.status.success(), "{}", said(&output));
    drop(node);

    let output = ironbell(&[&load[..], &["--rate", "500", "--warmup", "0", "--seconds", "1"]].concat(), &dir);
    assert_eq!(output.status.code(), Some(1), "nobody listens there any more: {}", said(&output));
    std::fs::write(dir.join("logins"), "ONEWORD\n").expect("a file of ours");
    let output = ironbell(&load, &dir);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("logins: line 1"), "{}", said(&output));
}

/// Order to answer beside an echo, for each backend: over a cable of virtual devices. Takes root, and says so.
#[test]
fn wire_to_wire_is_measured_beside_an_echo_over_xdp_too() {
    let _turn = turn();
    let dir = dir("wire");
    let arguments = "bench wire --sessions 1,3 --durability none --rounds 200 --turns 2 --flood 0.05 --json --out wire.json";
    let output = ironbell(&arguments.split(' ').collect::<Vec<_>>(), &dir);
    assert!(output.status.success(), "{}", said(&output));
    let results: Results = serde_json::from_slice(&output.stdout).expect("results on standard output");
    assert_eq!(results.absent, [], "network namespaces and AF_XDP take root");
    let measured: Vec<_> = results.rows.iter().map(|row| (row.backend.as_str(), row.sessions)).collect();
    let backends = ["kernel", "uring", "xdp"];
    assert_eq!(measured, backends.map(|name| [(name, 1), (name, 3)]).as_flattened());
    for row in &results.rows {
        for side in [&row.node, &row.echo] {
            assert_eq!(side.count, 400, "{row:?}");
            assert!(
                side.ns.p50 > Some(0) && side.ns.p999.is_none(),
                "four in a thousand are too few: {row:?}"
            );
            let flood = side.answers_per_s.zip(side.frames_per_s);
            assert!(flood.is_some_and(|(answers, frames)| answers > 0.0 && frames > 0.0), "{row:?}");
        }
        assert!(row.ratio.p50 > 0.1 && row.ratio.p50.is_finite(), "{row:?}");
    }
    assert_eq!(std::fs::read(dir.join("wire.json")).expect("a file"), output.stdout.trim_ascii_end());

    // A row that fails takes no other with it.
    let arguments = "bench wire --backends kernel --sessions 1,2 --durability none,always,buffered --rounds 50 --turns 1 \
                     --flood 0 --json --out some.json";
    let output = ironbell(&arguments.split_whitespace().collect::<Vec<_>>(), &dir);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let results: Results = serde_json::from_slice(&output.stdout).expect("results on standard output");
    let measured: Vec<_> = results.rows.iter().map(|row| (row.durability.as_str(), row.sessions)).collect();
    assert_eq!(measured, [("none", 1), ("none", 2), ("buffered", 1), ("buffered", 2)]);
    let failed: Vec<_> = results.failed.iter().map(|row| (row.durability.as_str(), row.sessions)).collect();
    assert_eq!(failed, [("always", 1), ("always", 2)]);
    assert!(results.failed.iter().all(|row| row.why.contains("always")), "{:?}", results.failed);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("2 of 6 rows failed; the others are in some.json"), "{told}");
    assert_eq!(std::fs::read(dir.join("some.json")).expect("a file"), output.stdout.trim_ascii_end());

    let refused = |arguments: &str| {
        let output = ironbell(&arguments.split(' ').collect::<Vec<_>>(), &dir);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        said(&output)
    };
    assert!(refused("bench wire --sessions 0").contains("1 at least"));
    let told = refused("bench wire --iface nowhere0 --member-iface nowhere1");
    assert!(told.contains("nowhere0"), "{told}");
}
