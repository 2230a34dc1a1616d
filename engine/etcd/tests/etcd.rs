//! Against a real cluster of three: what is read is never old, one of many swaps wins, what nobody knows is called unknown,
//! leases end. Members are killed and frozen.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use ironbell_etcd::{Client, Error, Lease, Options, Swap};
use ironbell_etcd_cluster::Cluster;

/// For a machine that does much else; no test waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(10);

fn options(endpoints: Vec<String>, deadline: Duration) -> Options {
    Options { endpoints, deadline, tls: None }
}

fn client(cluster: &Cluster) -> Client {
    Client::new(&options(cluster.endpoints(), DEADLINE)).expect("they are URLs")
}

/// Asks again until it answers: an election may be under way.
fn eventually<T>(mut ask: impl FnMut() -> Result<T, Error>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) if Instant::now() > end => panic!("{error}"),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn read(client: &mut Client, key: &str) -> Option<String> {
    eventually(|| client.read(&[key])).remove(0)
}

/// Swaps until the outcome is known.
fn settle(client: &mut Client, key: &str, expect: Option<&str>, to: &str) -> Option<String> {
    for _ in 0..100 {
        match client.swap(key, expect, to) {
            Swap::Done => return Some(to.to_owned()),
            Swap::Refused(found) => return found,
            Swap::Unknown(_) => {
                let found = read(client, key);
                if found.as_deref() != expect {
                    return found;
                }
            }
        }
    }
    panic!("etcd never answered");
}

/// The endpoint of the leader, by its place.
fn leader(client: &Client) -> usize {
    eventually(|| {
        let members = client.members(DEADLINE);
        let leads = |member: &ironbell_etcd::Member| member.leader == member.id;
        let nth = members.iter().position(|(_, member)| member.as_ref().is_ok_and(leads));
        nth.ok_or_else(|| Error::NotSent("nobody leads".into()))
    })
}

#[test]
fn a_key_is_made_once_and_swapped_by_its_whole_value() {
    let cluster = Cluster::start();
    let mut client = client(&cluster);
    eventually(|| client.read(&["pair"]));
    assert!(matches!(client.swap("pair", Some("anything"), "new"), Swap::Refused(None)));
    assert!(matches!(client.swap("pair", None, "{\"epoch\": 1}"), Swap::Done));
    assert!(
        matches!(client.swap("pair", None, "again"), Swap::Refused(Some(found)) if found == "{\"epoch\": 1}")
    );
    assert!(matches!(client.swap("pair", Some("{\"epoch\": 1"), "part"), Swap::Refused(Some(_))));
    assert!(matches!(
        client.swap("pair", Some("{\"epoch\": 1}"), "{\"epoch\": 2, \"why\": \"Ärger\"}"),
        Swap::Done
    ));
    assert!(matches!(client.swap("empty", None, ""), Swap::Done));
    let found = client.read(&["pair", "none", "empty"]).expect("it runs");
    assert_eq!(found, [Some("{\"epoch\": 2, \"why\": \"Ärger\"}".to_owned()), None, Some(String::new())]);
    let members = client.members(DEADLINE);
    let versions: BTreeSet<_> =
        members.iter().map(|(_, it)| it.as_ref().expect("it runs").version.clone()).collect();
    println!("etcd {versions:?}");
    assert_eq!(members.len(), 3);
}

#[test]
fn of_many_who_swap_at_once_one_wins() {
    let cluster = Cluster::start();
    eventually(|| client(&cluster).read(&["pair"]));
    for round in 0..10 {
        let expect = (round > 0).then(|| read(&mut client(&cluster), "pair").expect("it was made"));
        let won: Vec<_> = thread::scope(|scope| {
            let swap = |nth: usize| {
                let (cluster, expect) = (&cluster, expect.as_deref());
                scope
                    .spawn(move || client(cluster).swap("pair", expect, &format!("round {round} node {nth}")))
            };
            let swaps: Vec<_> = (0..4).map(swap).collect();
            swaps.into_iter().map(|swap| matches!(swap.join().expect("no panic"), Swap::Done)).collect()
        });
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "round {round}: {won:?}");
        let nth = won.iter().position(|won| *won).expect("one did");
        assert_eq!(read(&mut client(&cluster), "pair"), Some(format!("round {round} node {nth}")));
    }
}

#[test]
fn a_killed_leader_and_a_killed_majority() {
    let mut cluster = Cluster::start();
    let mut client = client(&cluster);
    assert_eq!(settle(&mut client, "pair", None, "1").as_deref(), Some("1"));
    let first = leader(&client);
    cluster.kill(first);
    assert_eq!(read(&mut client, "pair").as_deref(), Some("1"), "two of three are enough");
    assert_eq!(settle(&mut client, "pair", Some("1"), "2").as_deref(), Some("2"));
    let second = leader(&client);
    assert_ne!(first, second);
    cluster.kill(second);
    // Whoever is left answers nothing rather than something old.
    let mut short =
        Client::new(&options(cluster.endpoints(), Duration::from_secs(2))).expect("they are URLs");
    let error = short.read(&["pair"]).expect_err("one of three knows nothing");
    assert!(matches!(error, Error::NoAnswer { .. } | Error::Unavailable { .. }), "{error}");
    let Swap::Unknown(error) = short.swap("pair", Some("2"), "3") else {
        panic!("one of three decides nothing")
    };
    println!("{error}");
    cluster.restart(first);
    let found = read(&mut client, "pair");
    assert!(["2", "3"].map(Some).contains(&found.as_deref()), "{found:?}");
}

#[test]
fn a_frozen_member_is_passed_over_and_what_was_sent_to_it_is_unknown() {
    let cluster = Cluster::start();
    let mut anyone = client(&cluster);
    assert_eq!(settle(&mut anyone, "pair", None, "1").as_deref(), Some("1"));
    let frozen = (leader(&anyone) + 1) % 3;
    cluster.freeze(frozen);
    // The frozen one is asked first by whoever has asked nobody yet.
    let mut endpoints = cluster.endpoints();
    endpoints.swap(0, frozen);
    let new = |deadline| Client::new(&options(endpoints.clone(), deadline)).expect("they are URLs");
    assert_eq!(new(DEADLINE).read(&["pair"]).expect("two of three run"), [Some("1".to_owned())]);
    let mut client = new(Duration::from_secs(3));
    let Swap::Unknown(error) = client.swap("pair", Some("1"), "2") else {
        panic!("a frozen member answered")
    };
    assert!(matches!(&error, Error::NoAnswer { endpoint, .. } if *endpoint == endpoints[0]), "{error}");
    assert!(!error.is_not_done());
    assert_eq!(read(&mut client, "pair").as_deref(), Some("1"), "the next one is asked after that");
    // It had the request: when it wakes up it may do it, or find that nobody waits any more. That is what unknown means.
    cluster.thaw(frozen);
    let mut woken = Client::new(&options(endpoints[..1].to_vec(), DEADLINE)).expect("it is a URL");
    let found = read(&mut woken, "pair");
    println!("what was sent to the frozen member left {found:?}");
    assert!(["1", "2"].map(Some).contains(&found.as_deref()), "{found:?}");
}

#[test]
fn a_swap_is_not_sent_twice_and_goes_on_to_whom_it_can_reach() {
    let cluster = Cluster::start();
    eventually(|| client(&cluster).read(&["pair"]));
    // Nobody listens at the first; the second takes what is sent and says nothing.
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port is free");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let nobody = format!("http://{nobody}");
    let silent_url = format!("http://{}", silent.local_addr().expect("it is bound"));
    let with = |first: &[&str], deadline| {
        let first = first.iter().map(|url| (*url).to_owned());
        Client::new(&options(first.chain(cluster.endpoints()).collect(), deadline)).expect("they are URLs")
    };
    assert!(matches!(with(&[&nobody], DEADLINE).swap("pair", None, "1"), Swap::Done));
    let Swap::Unknown(error) =
        with(&[&nobody, &silent_url], Duration::from_secs(2)).swap("pair", Some("1"), "2")
    else {
        panic!("a silent one answered")
    };
    assert!(matches!(error, Error::NoAnswer { .. }) && !error.is_not_done(), "{error}");
    assert_eq!(read(&mut client(&cluster), "pair").as_deref(), Some("1"), "it was sent to one only");
    let mut alone = Client::new(&options(vec![nobody.clone()], DEADLINE)).expect("it is a URL");
    let Swap::Unknown(error) = alone.swap("pair", Some("1"), "2") else { panic!("nobody answered") };
    assert!(error.is_not_done() && error.to_string().contains(&nobody), "{error}");
}

#[test]
fn a_lease_lives_as_long_as_it_is_kept_alive_and_takes_its_keys_along() {
    let cluster = Cluster::start();
    let mut client = client(&cluster);
    let Lease { id, ttl } = eventually(|| client.grant(1));
    println!("1 s was asked, {ttl:?} were granted");
    assert!(ttl >= Duration::from_secs(1));
    client.put("lease/1", "node 1", id).expect("it runs");
    // Longer than it lives by itself.
    let end = Instant::now() + ttl * 2;
    while Instant::now() < end {
        assert_eq!(client.keep_alive(id).expect("it runs"), Some(ttl));
        thread::sleep(ttl / 10);
    }
    assert_eq!(read(&mut client, "lease/1").as_deref(), Some("node 1"));
    let end = Instant::now() + Duration::from_secs(60);
    while read(&mut client, "lease/1").is_some() {
        assert!(Instant::now() < end, "a lease that nobody keeps alive ends");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(client.keep_alive(id).expect("it runs"), None);
    assert!(matches!(client.put("lease/1", "node 1", id), Err(Error::Refused { .. })), "it is over");
    client.revoke(id).expect("one that is over is none the worse");

    let Lease { id, .. } = client.grant(60).expect("it runs");
    client.put("lease/2", "node 2", id).expect("it runs");
    client.revoke(id).expect("it runs");
    assert_eq!(read(&mut client, "lease/2"), None);
}

/// Over TLS, to a cluster that asks for a certificate: with one it answers, without it does not.
#[cfg(feature = "tls")]
#[test]
fn a_secured_cluster_is_asked_with_a_certificate() {
    let cluster = Cluster::secured();
    let [ca, certificate, key] = cluster.certificates();
    let tls = |client| ironbell_etcd::Tls { ca: ca.clone(), client };
    let with = |tls, deadline| {
        let options = Options { tls, ..options(cluster.endpoints(), deadline) };
        Client::new(&options).expect("the files are there")
    };
    let known = Some(tls(Some((certificate.clone(), key))));
    let mut client = with(known, DEADLINE);
    assert_eq!(settle(&mut client, "pair", None, "1").as_deref(), Some("1"));
    assert_eq!(read(&mut client, "pair").as_deref(), Some("1"));
    let error =
        with(Some(tls(None)), Duration::from_secs(5)).read(&["pair"]).expect_err("it shows no certificate");
    println!("{error}");
    let error = Client::new(&options(cluster.endpoints(), DEADLINE)).expect_err("it trusts nobody");
    assert!(error.to_string().contains("trusted"), "{error}");
    let missing = Options {
        tls: Some(tls(Some((certificate.clone(), certificate)))),
        ..options(cluster.endpoints(), DEADLINE)
    };
    let error = Client::new(&missing).expect_err("a certificate is no key");
    assert!(error.to_string().contains("no private key"), "{error}");
}

#[test]
fn options_that_cannot_be_are_refused_and_say_why() {
    let refused = |endpoints: &[&str], deadline| {
        let endpoints = endpoints.iter().map(|url| (*url).to_owned()).collect();
        Client::new(&options(endpoints, deadline)).expect_err("it cannot be").to_string()
    };
    assert!(refused(&[], DEADLINE).contains("no endpoint"));
    assert!(refused(&["10.0.0.1:2379"], DEADLINE).contains("http://"));
    assert!(refused(&["http://10.0.0.1:2379"], Duration::ZERO).contains("deadline"));
    if cfg!(not(feature = "tls")) {
        assert!(refused(&["https://10.0.0.1:2379"], DEADLINE).contains("tls"));
    }
}
