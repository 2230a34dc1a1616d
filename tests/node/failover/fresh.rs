//! A standby that the primary's journal does not reach back to: it is sent a snapshot and what members were told up to
//! there, follows, and takes over; whoever logs in there from the first message on is told the whole day.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Instant;

use ironbell_appliance::config::Config;
use ironbell_appliance::ha::incoming;
use ironbell_appliance::inspection::{self, Hashes};
use ironbell_appliance::moment::Moment;
use ironbell_appliance::recovery;
use ironbell_etcd_cluster::{Cluster, Timing};
use ironbell_store::{Archived, NEVER_HERE};

use crate::members::{Members, check_retold};
use crate::net::{self, Network};
use crate::pair::{Node, is_open, is_pair, pair};
use crate::{ALONE, ETCD, MEMBERS, PATIENCE, PORTS};

/// Lets members trade, and archives what the node's snapshots do not need, until that goes beyond `seq`.
fn archive_beyond(node: &Node, members: &mut Members, seq: u64) {
    let place = node.dir.join("archive");
    let begun = Instant::now();
    while archived(node).last().is_none_or(|stretch| stretch.last_seq.0 <= seq) {
        members.wait_for(60, &members.acks(), "it trades");
        // What three snapshots need stays; they are made twice a second.
        let told = node.told(&["archive", place.to_str().expect("UTF-8")]);
        assert!(begun.elapsed() < PATIENCE, "too little could be archived: {told}");
    }
}

/// What of a node's journal is not there any more, or never was.
fn archived(node: &Node) -> Vec<Archived> {
    ironbell_store::archived(&node.config.journal_dir()).expect("it has a journal")
}

/// Whether a node's journal begins behind a snapshot of the other one.
fn begins_behind_a_snapshot(node: &Node) -> bool {
    archived(node).first().is_some_and(|stretch| stretch.place == NEVER_HERE)
}

/// What a node's journal comes to at `until`, behind a snapshot.
fn hashes_at(node: &Node, until: u64) -> Hashes {
    let until: Moment = until.to_string().parse().expect("a Seq is a moment");
    let replayed = recovery::replay_shortest(&node.config.journal_dir(), None, Some(until), 1, |_, _| {});
    inspection::hashes(&replayed.expect("the journal is whole").0.engine)
}

#[test]
fn a_standby_that_the_journal_does_not_reach_back_to_is_sent_a_snapshot() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let network = Network::new("fresh", &[1, 2, ETCD[0], ETCD[1], ETCD[2], MEMBERS]);
    let places = ETCD.map(|machine| (net::address(machine).into(), Some(network.name(machine))));
    let etcd = Cluster::at(&places, Timing::default());
    let more = "lease_s = 1\ncatch_up_bytes_per_s = 16777216\n";
    let [mut first, mut second] = pair("fresh", &etcd, Some(&network), "", more);
    let addresses: [SocketAddr; 2] = [first.order_entry(), second.order_entry()];
    let traders = network.name(MEMBERS);

    // One node alone, whose journal has lost its beginning to an archive.
    first.told(&["format"]);
    first.start();
    first.wait_until("it stands by", |status| status.pair.is_some());
    first.told(&["ctl", "bootstrap", "--approver", "the test"]);
    first.wait_until("it leads", is_open);
    let mut members = Members::start(&traders, addresses, &PORTS, 7);
    archive_beyond(&first, &mut members, 0);

    // A fresh one joins while members trade.
    second.told(&["format", "--standby"]);
    let begun = Instant::now();
    second.start();
    second.wait_until("both are in sync", is_pair);
    println!("joined behind a snapshot in {:?}", begun.elapsed());
    assert!(begins_behind_a_snapshot(&second));
    let log = fs::read_to_string(second.dir.join("node.log")).expect("it wrote a log");
    assert!(log.contains("a snapshot of the other node is in place"), "{log}");
    for left in ["incoming", "superseded"] {
        assert!(!second.config.data_dir.join(left).exists(), "{left} is left");
    }
    let refused =
        second.ironbell(&["snapshot", "verify", "--from-genesis"]).output().expect("it can be executed");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("never was here"), "{said}");

    // It leads as any other.
    members.wait_for(30, &members.acks(), "both are in sync");
    first.kill();
    second.wait_until("it has taken over", is_open);
    members.wait_for(120, &members.acks(), "the fresh node leads");

    // The other's disk is lost: it too begins behind a snapshot, of a node that itself began so. (One that comes back with what
    // it had may find in the other's memory what it lacks, however much was archived meanwhile.)
    let seq = second.status().expect("it answers").seq;
    archive_beyond(&second, &mut members, seq);
    fs::remove_dir_all(&first.config.data_dir).expect("it was killed");
    first.told(&["format", "--standby"]);
    first.start();
    first.wait_until("both are in sync", is_pair);
    second.wait_until("both are in sync", is_pair);
    assert!(begins_behind_a_snapshot(&first));
    let told = second.told(&["ctl", "switchover", "--reason", "the test"]);
    assert!(told.contains("has taken over"), "{told}");
    members.wait_for(120, &members.acks(), "it leads again");

    let heard = members.stop();
    for heard in &heard {
        check_retold(&traders, addresses[0], heard);
    }
    second.wait_until("both are in sync", is_pair);
    first.wait_until("both are in sync", is_pair);
    first.stop();
    second.stop();
    let last = |node: &Node| {
        let replayed = recovery::replay_shortest(&node.config.journal_dir(), None, None, 1, |_, _| {});
        replayed.expect("the journal is whole").0.engine.last_seq().0
    };
    let common = last(&first).min(last(&second));
    let hashes = [&first, &second].map(|node| hashes_at(node, common));
    assert_eq!((hashes[0].seq, &hashes[0]), (common, &hashes[1]));
    assert!(hashes[0].ledger_sum.values().all(|sum| sum == "0"), "{:?}", hashes[0].ledger_sum);
}

/// A node is killed while a snapshot that came whole takes the place of what was there: the next start finishes that. One
/// that did not come whole takes nobody's place.
#[test]
fn what_came_whole_is_put_in_its_place_whenever_the_node_is_killed() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("incoming");
    let data = dir.join("data");
    let rooms = ["sessions", "feed", "journal"];
    // So many renames were done before.
    for done in 0..=6 {
        let _ = fs::remove_dir_all(&dir);
        for room in rooms {
            for (place, file) in [(data.join(room), "old"), (data.join("incoming").join(room), "new")] {
                fs::create_dir_all(&place).expect("a folder of ours");
                fs::write(place.join(file), "").expect("a file of ours");
            }
        }
        fs::write(dir.join("node.toml"), "data_dir = \"data\"\n").expect("a file of ours");
        let config = Config::read(&dir.join("node.toml")).unwrap_or_else(|e| panic!("{e}"));
        assert!(!incoming::install(&config).expect("the disk writes"), "it did not come whole");
        assert!(rooms.iter().all(|room| data.join(room).join("old").exists()));

        fs::write(data.join("incoming/whole"), "").expect("a file of ours");
        fs::create_dir_all(data.join("superseded")).expect("a folder of ours");
        let renames = rooms.iter().flat_map(|room| {
            let (old, new) = (data.join(room), data.join("incoming").join(room));
            [(old.clone(), data.join("superseded").join(room)), (new, old)]
        });
        for (from, to) in renames.take(done) {
            fs::rename(from, to).expect("they are ours");
        }
        assert!(incoming::install(&config).expect("the disk writes"), "it came whole");
        for room in rooms {
            let has = |file| data.join(room).join(file).exists();
            assert!(has("new") && !has("old"), "{room} after {done} renames");
        }
        assert!(!data.join("incoming").exists() && !data.join("superseded").exists());
        assert!(!incoming::install(&config).expect("the disk writes"), "there is nothing any more");
    }
}
