//! Two nodes, three members of etcd, and members of the venue under load, all real processes, each on a machine (a network
//! namespace) of its own: each of them is killed, frozen, or has its cable cut, and the primary is told to hand over. Nothing
//! that a member was told is lost or told twice; who was gone comes back.
//!
//! `IRONBELL_FAILOVERS` sets the number of rounds (8), `IRONBELL_SEED` the seed.

mod fresh;
mod grace;
mod members;
mod net;
mod pair;

use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ironbell_appliance::moment::Moment;
use ironbell_appliance::{inspection, recovery};
use ironbell_etcd_cluster::{Cluster, Timing};
use ironbell_load::Rng;
use ironbell_types::Symbol;

use members::{Members, Port, SYMBOL, check_retold};
use net::Network;
use pair::{Node, bootstrap, is_open, is_pair, leads_by_register, pair};

/// How long anything may take before the test gives up; how long it does take decides nothing.
const PATIENCE: Duration = Duration::from_secs(120);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// What operators order, one node after the other; and that a node that does not lead lets nobody in.
#[test]
fn operators_lead_a_pair_by_hand() {
    let etcd = Cluster::start();
    let mut nodes = pair("by-hand", &etcd, None, "", "");
    bootstrap(&mut nodes);
    let [first, second] = &mut nodes;
    // It reads the register now and then only.
    second.wait_until("it sees that", is_pair);
    let told = second.told(&["status"]);
    assert!(
        told.contains("node 1 leads, mode pair, in sync 1 and 2, acknowledged when both-durable"),
        "{told}"
    );
    assert!(TcpStream::connect(second.order_entry()).is_err(), "a standby lets nobody in");
    let refused = |node: &Node, arguments: &[&str]| {
        let output = node.ironbell(arguments).output().expect("it can be executed");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(first, &["ctl", "promote", "--reason", "none"]).contains("this node leads already"));
    assert!(refused(second, &["ctl", "demote"]).contains("this node does not lead"));
    assert!(refused(first, &["ctl", "bootstrap"]).contains("this node leads already"));

    // Without its standby the primary waits, until somebody decides.
    second.kill();
    first.wait_until("it misses its standby", |status| {
        status
            .pair
            .as_ref()
            .is_some_and(|pair| pair.alarms.iter().any(|alarm| alarm.contains("standby is lost")))
    });
    assert_exposed(
        first,
        &[r#"ironbell_pair_alarm{alarm="the standby is lost"#, "ironbell_pair_linked 0"],
        &[],
    );
    let told = first.told(&["ctl", "solo", "--reason", "the test", "--approver", "nobody"]);
    assert!(told.contains("solo in epoch"), "{told}");
    let told = first.told(&["status"]);
    assert!(
        told.contains("mode solo, in sync 1, acknowledged when both-durable; the test, by nobody"),
        "{told}"
    );
    second.start();
    first.wait_until("the other has joined", is_pair);

    // Down, and back.
    assert_eq!(first.told(&["ctl", "demote"]).trim(), "done");
    second.wait_until("it has taken over", is_open);
    second.wait_until("the other has joined", is_pair);
    assert!(TcpStream::connect(first.order_entry()).is_err(), "who was demoted lets nobody in");
    first.wait_until("it sees that", |status| is_pair(status) && leads_by_register(status) == Some(2));
    // Who led before has a metrics segment of that time, whose threads move no more: it is healthy all the same.
    let standby = [
        "ironbell_healthy 1",
        "ironbell_ready 0",
        "ironbell_pair_primary 0",
        "ironbell_pair_behind_commands ",
    ];
    assert_exposed(first, &standby, &["ironbell_gateway", "ironbell_thread"]);
    let primary = [
        "ironbell_ready 1",
        "ironbell_pair_primary 1",
        "ironbell_pair_lag_commands ",
        "ironbell_pair_in_sync 2",
    ];
    assert_exposed(second, &primary, &["ironbell_pair_alarm{"]);
    assert_exposed(
        second,
        &[r#"ironbell_pair_mode{mode="pair"} 1"#, "ironbell_gateway_sessions_open ", "ironbell_instruments{"],
        &[],
    );
    let told = first.told(&["ctl", "promote", "--reason", "back again"]);
    assert!(told.contains("leads in epoch"), "{told}");
    first.wait_until("it leads again", is_open);
    first.wait_until("the other has joined", is_pair);
}

/// The exporter has lines that begin so, and none that begin otherwise.
fn assert_exposed(node: &Node, lines: &[&str], none: &[&str]) {
    let config = &node.config;
    let mut looked_at = ironbell_exporter::node::Node::new(&config.data_dir, Some(config.admin_socket()));
    let text = ironbell_exporter::scrape::text(&looked_at.look(Instant::now()));
    let is_there = |line: &str| text.lines().any(|there| there.starts_with(line));
    lines.iter().for_each(|line| assert!(is_there(line), "{line} is missing: {text}"));
    none.iter().for_each(|line| assert!(!is_there(line), "{line} is there: {text}"));
}

/// Who goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Primary,
    Standby,
    /// One member of etcd; all of them when cables are cut.
    Etcd,
    /// What connects the two nodes, and nothing else.
    Link,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Kill,
    Freeze,
    Cut,
    /// In good order.
    Switchover,
}

/// The first rounds; those behind them are drawn.
const ROUNDS: [(Who, How); 11] = [
    (Who::Primary, How::Kill),
    (Who::Etcd, How::Cut),
    (Who::Primary, How::Freeze),
    (Who::Standby, How::Kill),
    (Who::Primary, How::Cut),
    (Who::Primary, How::Switchover),
    (Who::Standby, How::Freeze),
    (Who::Link, How::Cut),
    (Who::Etcd, How::Kill),
    (Who::Standby, How::Cut),
    (Who::Etcd, How::Freeze),
];

const ETCD: [u8; 3] = [11, 12, 13];
const MEMBERS: u8 = 21;
const PORTS: [Port; 2] =
    [Port { username: "ALFA01", password: "failover" }, Port { username: "BETA01", password: "failover" }];

/// What the venue consists of.
struct World {
    network: Network,
    etcd: Cluster,
    nodes: [Node; 2],
}

impl World {
    /// Takes somebody away.
    fn take(&mut self, who: Who, how: How, leads: usize, nth: usize) {
        let node = if who == Who::Standby { 1 - leads } else { leads };
        match (who, how) {
            (Who::Etcd, How::Kill) => self.etcd.kill(nth),
            (Who::Etcd, How::Freeze) => self.etcd.freeze(nth),
            (Who::Etcd, _) => ETCD.iter().for_each(|machine| self.network.cut(*machine)),
            (Who::Link, _) => self.network.cut_between(1, 2),
            (_, How::Kill) => self.nodes[node].kill(),
            (_, How::Freeze) => self.nodes[node].freeze(),
            (_, How::Cut) => self.network.cut(machine(node)),
            (_, How::Switchover) => {
                let told = self.nodes[node].told(&["ctl", "switchover", "--reason", "the test"]);
                assert!(told.contains("has taken over"), "{told}");
            }
        }
    }

    /// Brings who was taken away back.
    fn give_back(&mut self, who: Who, how: How, leads: usize, nth: usize) {
        let node = if who == Who::Standby { 1 - leads } else { leads };
        match (who, how) {
            (Who::Etcd, How::Kill) => self.etcd.restart(nth),
            (Who::Etcd, How::Freeze) => self.etcd.thaw(nth),
            (Who::Etcd, _) => ETCD.iter().for_each(|machine| self.network.mend(*machine)),
            (Who::Link, _) => self.network.mend(1),
            (_, How::Kill) => self.nodes[node].start(),
            (_, How::Freeze) => self.nodes[node].thaw(),
            (_, How::Cut) => self.network.mend(machine(node)),
            (_, How::Switchover) => {}
        }
    }

    /// Who leads when both nodes are in sync, and both say so.
    fn leader(&self, round: &str) -> usize {
        let begun = Instant::now();
        loop {
            let seen = self.nodes.each_ref().map(|node| node.status().filter(is_pair));
            for (nth, node) in seen.iter().enumerate() {
                if let (Some(this), Some(other)) = (node, &seen[1 - nth])
                    && is_open(this)
                    && leads_by_register(other) == leads_by_register(this)
                    && leads_by_register(this) == Some(machine(nth))
                {
                    return nth;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "{round}: no pair again\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn logs(&self) -> String {
        let log = |node: &Node| {
            let status = node.status().map_or_else(|| "no answer\n".to_owned(), |status| status.to_table());
            format!("{status}{}\n", node.log())
        };
        self.nodes.iter().map(log).collect()
    }
}

fn machine(node: usize) -> u8 {
    node as u8 + 1
}

/// Whoever has the machine for itself: what takes long would only take longer beside another, and namespaces have one name.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn nothing_a_member_was_told_is_lost_or_told_twice_whoever_goes() {
    let rounds = setting("IRONBELL_FAILOVERS", 8);
    println!("IRONBELL_FAILOVERS={rounds}");
    trade_while_somebody_goes("failover", "", |round, rng| {
        let drawn = rng.below(ROUNDS.len() as u64) as usize;
        (round < rounds as usize).then(|| ROUNDS[if round < ROUNDS.len() { round } else { drawn }])
    });
}

/// The same with a TCP of our own under order entry: who takes over opens its card's queue, who is gone has left its own.
#[test]
fn a_pair_over_xdp_loses_nothing_whoever_leads() {
    const GOES: [(Who, How); 4] = [
        (Who::Primary, How::Kill),
        (Who::Primary, How::Switchover),
        (Who::Standby, How::Kill),
        (Who::Primary, How::Kill),
    ];
    let door = "io = \"xdp\"\nxdp = { interface = \"eth0\", frames = 256 }\n";
    let logs = trade_while_somebody_goes("failover-xdp", door, |round, _| GOES.get(round).copied());
    for log in logs {
        assert!(log.contains(": AF_XDP"), "{log}");
    }
}

/// Members trade while one after the other goes and comes back, as `goes` says for each round, and in the end both nodes
/// and both members agree. The nodes' logs.
fn trade_while_somebody_goes(
    name: &str,
    door: &str,
    mut goes: impl FnMut(usize, &mut Rng) -> Option<(Who, How)>,
) -> [String; 2] {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = setting("IRONBELL_SEED", 1);
    println!("IRONBELL_SEED={seed}");
    let mut rng = Rng::new(seed);
    let network = Network::new(name, &[1, 2, ETCD[0], ETCD[1], ETCD[2], MEMBERS]);
    let places = ETCD.map(|machine| (net::address(machine).into(), Some(network.name(machine))));
    let etcd = Cluster::at(&places, Timing::default());
    let mut nodes = pair(name, &etcd, Some(&network), door, "lease_s = 1\n");
    bootstrap(&mut nodes);
    let addresses: [SocketAddr; 2] = nodes.each_ref().map(Node::order_entry);
    let traders = network.name(MEMBERS);
    let mut members = Members::start(&traders, addresses, &PORTS, seed);
    let mut world = World { network, etcd, nodes };
    let mut times: Vec<((Who, How), [Duration; 2])> = Vec::new();
    let mut round = 0;
    while let Some((who, how)) = goes(round, &mut rng) {
        let what = format!("round {round}: {who:?} {how:?}");
        let (leads, nth) = (world.leader(&what), rng.below(3) as usize);
        members.wait_for(30, &members.acks(), &what);
        std::thread::sleep(Duration::from_millis(rng.below(200)));

        let since = Instant::now();
        world.take(who, how, leads, nth);
        let mut took = None;
        if who == Who::Standby {
            // Nobody hears anything until it is back, or somebody decides.
            world.nodes[leads].wait_until("it misses its standby", |status| {
                let pair = status.pair.as_ref();
                pair.is_some_and(|pair| pair.alarms.iter().any(|alarm| alarm.contains("standby is lost")))
            });
        } else {
            // More than was under way: whoever leads now answers.
            members.wait_for(120, &members.acks(), &what);
        }
        if who == Who::Primary {
            let [first, last] = members.answered(since, addresses[1 - leads]);
            times.push(((who, how), [first, last]));
            took = Some(first);
        }
        world.give_back(who, how, leads, nth);
        let leads = world.leader(&what);
        members.wait_for(30, &members.acks(), &what);
        let took = took.map_or(String::new(), |took| format!(", answered after {took:?}"));
        println!("{what}: node {} leads{took}; {:?} in all", leads + 1, since.elapsed());
        round += 1;
    }
    if door.contains("xdp") {
        let leads = world.leader("the end");
        let status = world.nodes[leads].wait_until("its TCP has counted the members", |status| {
            let bypass = status.roles.iter().find(|role| role.role == "bypass");
            bypass.is_some_and(|bypass| bypass.counters["connected"] >= PORTS.len() as u64)
        });
        assert!(status.to_table().contains("cookies_sent 0"), "{}", status.to_table());
        let by = status.order_entry_by.as_deref().unwrap_or("nothing");
        assert!(by.contains("AF_XDP") && by.contains("checksums in software"), "{by}");
    }
    let heard = members.stop();
    let leads = world.leader("the end");
    for heard in &heard {
        check_retold(&traders, addresses[leads], heard);
    }
    let granted = std::fs::read_to_string(world.nodes[leads].dir.join("node.log")).expect("it wrote a log");
    let granted =
        granted.lines().rev().find_map(|line| line.split_once("ttl_s=")).map_or("?", |(_, ttl)| ttl);
    world.nodes[leads].stop();
    world.nodes[1 - leads].stop();
    check_journals(&world.nodes, &heard);

    for kind in [How::Kill, How::Freeze, How::Cut, How::Switchover] {
        let of = |end: usize| {
            let mut took: Vec<Duration> =
                times.iter().filter(|((_, how), _)| *how == kind).map(|(_, took)| took[end]).collect();
            took.sort_unstable();
            took
        };
        let (first, last) = (of(0), of(1));
        if let (Some(p50), Some(max), Some(all)) = (first.get(first.len() / 2), first.last(), last.last()) {
            println!(
                "{kind:?} of the primary, {} times: first answer of the new one after p50 {p50:?}, max {max:?}; \
                 every member had one after at most {all:?}",
                first.len()
            );
        }
    }
    let (orders, logins) = heard.iter().fold((0, 0), |(o, l), heard| (o + heard.entered, l + heard.logins));
    let told: usize = heard.iter().map(|heard| heard.messages.len()).sum();
    println!(
        "{orders} orders, each answered once; {told} messages, each told once, and again as it was; {logins} logins; \
         a lease of 1 s was granted as {granted} s"
    );
    world
        .nodes
        .each_ref()
        .map(|node| std::fs::read_to_string(node.dir.join("node.log")).expect("it wrote a log"))
}

/// Both journals say the same, and what the members think they have is what they have.
fn check_journals(nodes: &[Node; 2], heard: &[members::Heard]) {
    // One of them may have ended logins after the other was gone: what both have is the same.
    let last = |node: &Node| {
        let replayed = recovery::replay(&node.config.journal_dir(), None, |_, _| {});
        replayed.expect("the journal is whole").engine.last_seq()
    };
    let common = last(&nodes[0]).min(last(&nodes[1]));
    let until: Moment = common.0.to_string().parse().expect("a Seq is a moment");
    let engines = nodes.each_ref().map(|node| {
        let replayed = recovery::replay_until(&node.config.journal_dir(), None, Some(until), 1, |_, _| {});
        replayed.expect("the journal is whole").engine
    });
    let states = engines.each_ref().map(inspection::hashes);
    assert_eq!((states[0].seq, &states[0]), (common.0, &states[1]));
    assert!(states[0].ledger_sum.values().all(|sum| sum == "0"), "{:?}", states[0].ledger_sum);
    let ledger = inspection::ledger(&engines[0]);
    for (nth, heard) in heard.iter().enumerate() {
        let account = (nth + 1).to_string();
        let has = ledger.iter().find(|line| line.account == account && line.asset == SYMBOL);
        let position = heard.orders.position(Symbol::new(SYMBOL).expect("short"));
        let expected = 10_000_000 + position;
        assert_eq!(has.map(|line| &line.total), Some(&expected.to_string()), "{}", heard.port.username);
        assert!(position != 0 || heard.orders.open().count() > 0, "too little was going on");
    }
}
