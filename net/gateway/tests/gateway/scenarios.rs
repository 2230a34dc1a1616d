//! Members, a gateway, and a stand-in for what is behind the rings, in simulated time.

use crate::venue::{
    self, DAY, Dir, Heard, Member, Plain, SECOND, SESSION, Venue, config, definitions, enter_order, event,
    mass_quote, plain,
};
use ironbell_device::fault::{Faults, Faulty};
use ironbell_device::kernel::{Connection, KernelAcceptor};
use ironbell_device::mem::{MemAcceptor, MemDialer, MemStream, network};
use ironbell_device::{Acceptor, Stream};
use ironbell_gateway::{ArgonChecker, Config, Ending, LoginChecker, Notice, hash_password};
use ironbell_session::{Refusal, Violation};
use ironbell_sync::voice;
use ironbell_types::{Command, Control, EventBody, Login, Logout, Nanos, OpenDay, PortId, Username};
use ironbell_wire::ouch::Outbound as Told;
use proptest::prelude::*;

type MemVenue = Venue<MemAcceptor, Plain>;

fn mem_venue(config: Config, dir: &Dir) -> (MemVenue, MemDialer) {
    let (acceptor, dialer) = network(4096);
    (Venue::open(config, acceptor, Plain::default(), dir, plain("SECRET")), dialer)
}

/// A member of `port` that is in and wants every message from `first` on.
fn join<A: Acceptor, L: LoginChecker, S: Stream>(
    venue: &mut Venue<A, L>,
    stream: S,
    port: u32,
    first: u64,
) -> Member<S> {
    let mut member = Member::new(stream, venue.now).login(port, "secret", "", first);
    venue.until(|venue| {
        member.pump(venue.now, usize::MAX);
        !member.heard.is_empty()
    });
    assert_eq!(member.heard[0], Heard::In(SESSION, first));
    member
}

fn hears<S: Stream>(venue: &mut MemVenue, member: &mut Member<S>, count: usize) {
    venue.until(|venue| {
        member.pump(venue.now, usize::MAX);
        member.messages().len() >= count
    });
}

/// Everything that can move has moved.
fn settle<S: Stream>(venue: &mut MemVenue, members: &mut [&mut Member<S>]) {
    for _ in 0..20 {
        venue.turn();
        members.iter_mut().for_each(|member| member.pump(venue.now, usize::MAX));
    }
}

#[test]
fn logins_are_accepted_or_refused_for_the_right_reason() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    // Every port has been told one message: the day is open.
    let cases = [
        (1, "secret", "", 1, Heard::In(SESSION, 1)),
        (1, "SECRET", "", 2, Heard::In(SESSION, 2)),
        (1, "secret", "", 0, Heard::In(SESSION, 1)),
        (1, "secret", "0020261121", 1, Heard::In(SESSION, 1)),
        (1, "secret", "", 3, Heard::Refused(Refusal::NoSession)),
        (1, "secret", "0020261120", 1, Heard::Refused(Refusal::NoSession)),
        (1, "wrong", "", 1, Heard::Refused(Refusal::NotAuthorized)),
        (1, "", "", 1, Heard::Refused(Refusal::NotAuthorized)),
        (9, "secret", "", 1, Heard::Refused(Refusal::NotAuthorized)),
        (9, "wrong", "0020261120", 9, Heard::Refused(Refusal::NotAuthorized)),
    ];
    for (port, password, session, sequence, expected) in cases {
        let mut member = Member::new(dialer.connect(), venue.now).login(port, password, session, sequence);
        settle(&mut venue, &mut [&mut member]);
        assert_eq!(member.heard[0], expected, "port {port}, {password:?}, {session:?}, {sequence}");
        assert_eq!(member.is_closed(), matches!(expected, Heard::Refused(_)), "a refused login is closed");
    }
    let counters = *venue.gateway.counters();
    assert_eq!((counters.logins, counters.logins_refused), (4, 6));
}

#[test]
fn people_are_told_what_no_event_tells() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let (voice, mut ear) = voice(8);
    venue.gateway.speak(voice);
    let mut wrong = Member::new(dialer.connect(), venue.now).login(1, "wrong", "", 1);
    settle(&mut venue, &mut [&mut wrong]);
    let mut unknown = Member::new(dialer.connect(), venue.now).login(9, "secret", "", 1);
    settle(&mut venue, &mut [&mut unknown]);
    let mut one = join(&mut venue, dialer.connect(), 1, 1);
    let mut other = join(&mut venue, dialer.connect(), 1, 1);
    drop(dialer.connect());
    settle(&mut venue, &mut [&mut one, &mut other]);
    venue.now = Nanos(venue.now.0 + 60 * SECOND);
    settle::<MemStream>(&mut venue, &mut []);

    let refused = |name: &str, port| Notice::Refused {
        username: Username::new(name).expect("short"),
        port,
        why: Refusal::NotAuthorized,
    };
    let closed = |why| Notice::Closed { port: Some(PortId(1)), why };
    let heard: Vec<Notice> = std::iter::from_fn(|| ear.hear()).collect();
    assert_eq!(
        heard,
        [
            refused("PORT1", Some(PortId(1))),
            refused("PORT9", None),
            closed(Ending::TakenOver),
            closed(Ending::Violation(Violation::IdleTimeout)),
        ]
    );
    assert_eq!(ear.dropped(), 0);
}

#[test]
fn before_the_first_day_there_is_no_session() {
    let dir = Dir::new();
    let (acceptor, dialer) = network(4096);
    let journal =
        definitions(plain("SECRET")).into_iter().zip(1..).map(|(body, seq)| event(seq, body)).collect();
    let (mut venue, _) = Venue::recover(config(), acceptor, Plain::default(), &dir, journal);
    let mut member = Member::new(dialer.connect(), venue.now).login(1, "secret", "", 1);
    settle(&mut venue, &mut [&mut member]);
    assert_eq!(member.heard, [Heard::Refused(Refusal::NoSession), Heard::Closed]);
}

#[test]
fn an_order_is_answered_once_it_is_released() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let mut member = join(&mut venue, dialer.connect(), 1, 1);
    assert!(member.session.send(&enter_order(7)));
    for _ in 0..10 {
        venue.gateway.poll(venue.now);
        member.pump(venue.now, usize::MAX);
    }
    assert_eq!(member.messages().len(), 1, "the day's opening; the order is not released");
    hears(&mut venue, &mut member, 2);
    let (number, message) = member.messages().pop().expect("it heard two");
    let Ok(Told::OrderAccepted(accepted, _)) = Told::parse(&message) else { panic!("{message:?}") };
    assert_eq!((number, accepted.user_ref_num.get(), accepted.price.get()), (2, 7, 10_000));
}

#[test]
fn whoever_comes_back_gets_exactly_what_it_misses() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let mut member = join(&mut venue, dialer.connect(), 1, 1);
    for n in 1..=40 {
        assert!(member.session.send(&enter_order(n)));
        hears(&mut venue, &mut member, n as usize + 1);
    }
    let all = member.messages();
    assert_eq!(all.len(), 41);
    for first in 1..=42 {
        let mut again = join(&mut venue, dialer.connect(), 1, first);
        settle(&mut venue, &mut [&mut again]);
        assert_eq!(again.messages(), all[first as usize - 1..], "from {first}");
    }
}

#[test]
fn a_restart_continues_every_stream_and_ends_stale_logins() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let mut member = join(&mut venue, dialer.connect(), 1, 1);
    let mut other = join(&mut venue, dialer.connect(), 3, 1);
    for n in 1..=5 {
        assert!(member.session.send(&enter_order(n)));
        assert!(other.session.send(&enter_order(n)));
        hears(&mut venue, &mut member, n as usize + 1);
        hears(&mut venue, &mut other, n as usize + 1);
    }
    let journal = venue.behind.journal.clone();
    drop(venue);

    let (acceptor, dialer) = network(4096);
    let (mut venue, recovered) = Venue::recover(config(), acceptor, Plain::default(), &dir, journal);
    assert_eq!((recovered.records, recovered.rewritten), (13, 0));
    venue.turn();
    let mut ended = venue.behind.commands.clone();
    ended.sort_by_key(|command| match command {
        Command::Logout(logout) => logout.port,
        other => panic!("{other:?}"),
    });
    let logout = |port| Command::Logout(Logout { port: PortId(port), incarnation: 1 });
    assert_eq!(ended, [logout(1), logout(3)]);

    let before = member.messages();
    let mut member = join(&mut venue, dialer.connect(), 1, member.session.next_number());
    assert!(member.session.send(&enter_order(6)));
    hears(&mut venue, &mut member, 1);
    assert_eq!(member.messages()[0].0, before.len() as u64 + 1);
    let mut late = join(&mut venue, dialer.connect(), 1, 1);
    settle(&mut venue, &mut [&mut late]);
    assert_eq!(late.messages(), [before, member.messages()].concat());
}

/// At the node that takes over, members were logged in at the other one: the state machine is told so before anything else,
/// and logs out by itself who does not come. Who comes and goes again is logged out as ever.
#[test]
fn logins_at_the_other_node_are_left_to_the_state_machine() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let _members = [1, 2].map(|port| join(&mut venue, dialer.connect(), port, 1));
    let journal = venue.behind.journal.clone();
    drop(venue);

    let (acceptor, dialer) = network(4096);
    let (mut venue, _) = Venue::recover(config(), acceptor, Plain::default(), &dir, journal);
    venue.gateway.forgive(Nanos(3_000_000_000));
    venue.turn();
    let back = join(&mut venue, dialer.connect(), 1, 1);
    let grace = Command::Control(Control::BeginGrace { grace_ns: 3_000_000_000 });
    let login = Command::Login(Login { port: PortId(1) });
    assert_eq!(venue.behind.commands, [grace, login]);
    venue.now.0 += 9_000_000_000;
    settle::<MemStream>(&mut venue, &mut []);
    assert_eq!(venue.behind.commands, [grace, login], "the grace is no business of the gateway's");
    // It is over: the state machine has logged out who did not come, and the gateway does not do it again.
    venue.behind.say(EventBody::LoggedOut { port: PortId(2), incarnation: 1 });
    drop(back);
    settle::<MemStream>(&mut venue, &mut []);
    let logout = Command::Logout(Logout { port: PortId(1), incarnation: 2 });
    assert_eq!(venue.behind.commands, [grace, login, logout]);
}

#[test]
fn a_damaged_log_is_rebuilt_by_the_replay() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let mut member = join(&mut venue, dialer.connect(), 1, 1);
    for n in 1..=5 {
        assert!(member.session.send(&enter_order(n)));
    }
    hears(&mut venue, &mut member, 6);
    let journal = venue.behind.journal.clone();
    drop(venue);
    std::fs::remove_file(dir.0.join("00000000.seg")).expect("the log is there");
    let (acceptor, dialer) = network(4096);
    let (mut venue, recovered) = Venue::recover(config(), acceptor, Plain::default(), &dir, journal);
    assert_eq!((recovered.records, recovered.rewritten), (8, 8));
    let mut again = join(&mut venue, dialer.connect(), 1, 1);
    settle(&mut venue, &mut [&mut again]);
    assert_eq!(again.messages(), member.messages());
}

#[test]
fn a_second_login_takes_the_port_over() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let mut first = join(&mut venue, dialer.connect(), 1, 1);
    let mut second = join(&mut venue, dialer.connect(), 1, 1);
    settle(&mut venue, &mut [&mut first, &mut second]);
    assert!(first.is_closed() && !second.is_closed());
    assert_eq!(venue.gateway.counters().takeovers, 1);
    let login = Command::Login(Login { port: PortId(1) });
    assert_eq!(venue.behind.commands, [login, login], "the first login ends by the second, not by a logout");
    drop(second);
    settle::<MemStream>(&mut venue, &mut []);
    assert_eq!(venue.behind.commands[2..], [Command::Logout(Logout { port: PortId(1), incarnation: 2 })]);
}

#[test]
fn a_connection_that_ends_is_logged_out_with_its_own_incarnation() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let login = Command::Login(Login { port: PortId(1) });
    // Gone before its login is released: the logout waits for the incarnation.
    let mut member = Member::new(dialer.connect(), venue.now).login(1, "secret", "", 1);
    for _ in 0..10 {
        member.pump(venue.now, usize::MAX);
        venue.gateway.poll(venue.now);
    }
    drop(member);
    for _ in 0..10 {
        venue.gateway.poll(venue.now);
    }
    assert_eq!(venue.gateway.logged_in(), 0);
    settle::<MemStream>(&mut venue, &mut []);
    let logout = |incarnation| Command::Logout(Logout { port: PortId(1), incarnation });
    assert_eq!(venue.behind.commands, [login, logout(1)]);
    // A logout of the member's own ends it as well.
    let mut member = join(&mut venue, dialer.connect(), 1, 1);
    assert!(member.session.logout());
    settle(&mut venue, &mut [&mut member]);
    assert!(member.is_closed());
    assert_eq!(venue.behind.commands[2..], [login, logout(2)]);
    assert_eq!(venue.gateway.counters().disconnects, 2);
    // A takeover that is gone before it is released: the login before it is not ended by a name that is
    // stale by then, only the newest is.
    let older = join(&mut venue, dialer.connect(), 1, 1);
    let mut newer = Member::new(dialer.connect(), venue.now).login(1, "secret", "", 1);
    for _ in 0..10 {
        newer.pump(venue.now, usize::MAX);
        venue.gateway.poll(venue.now);
    }
    drop((older, newer));
    for _ in 0..10 {
        venue.gateway.poll(venue.now);
    }
    settle::<MemStream>(&mut venue, &mut []);
    assert_eq!(venue.behind.commands[4..], [login, login, logout(4)]);
}

#[test]
fn a_slow_reader_delays_nobody_and_loses_nothing() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let mut slow = join(&mut venue, dialer.connect(), 1, 1);
    let mut quick = join(&mut venue, dialer.connect(), 2, 1);
    for n in 1..=2_000 {
        // The slow one asks and does not read: four kilobytes of pipe and one of buffer are full soon.
        assert!(slow.session.send(&enter_order(n)));
        assert!(quick.session.send(&enter_order(n)));
        slow.pump(venue.now, 0);
        hears(&mut venue, &mut quick, n as usize + 1);
    }
    venue.until(|venue| {
        slow.pump(venue.now, 0);
        slow.session.output().is_empty() && venue.behind.journal.len() > 4_000
    });
    assert!(slow.messages().len() < 100);
    hears(&mut venue, &mut slow, 2_001);
    let numbers: Vec<u64> = slow.messages().iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=2_001).collect::<Vec<_>>());
}

#[test]
fn a_full_ring_delays_reading_and_loses_nothing() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let mut members: Vec<_> = (1..=3).map(|port| join(&mut venue, dialer.connect(), port, 2)).collect();
    let already = venue.behind.commands.len();
    for n in 1..=100 {
        for member in &mut members {
            assert!(member.session.send(&enter_order(n)));
        }
    }
    // The ring has 64 places and nothing behind it moves.
    for _ in 0..200 {
        members.iter_mut().for_each(|member| member.pump(venue.now, usize::MAX));
        venue.gateway.poll(venue.now);
    }
    assert_eq!(venue.gateway.counters().messages_in, 64);
    // One place at a time: every member gets its share.
    for _ in 0..30 {
        venue.behind.execute(1);
        members.iter_mut().for_each(|member| member.pump(venue.now, usize::MAX));
        venue.gateway.poll(venue.now);
    }
    for member in &mut members {
        hears(&mut venue, member, 100);
    }
    let shared_out = &venue.behind.commands[already + 64..already + 94];
    for port in 1..=3 {
        let of_port =
            |command: &&Command| matches!(command, Command::EnterOrder(order) if order.port == PortId(port));
        assert_eq!(shared_out.iter().filter(of_port).count(), 10, "port {port}");
        let numbers = venue.behind.commands[already..].iter().filter_map(|command| match command {
            Command::EnterOrder(order) if order.port == PortId(port) => Some(order.user_ref_num.0),
            _ => None,
        });
        assert_eq!(numbers.collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>(), "port {port}");
    }
}

/// What came of each message of a port: the numbers of its orders and quotes, in their order.
fn numbers_of(commands: &[Command], port: u32) -> Vec<u32> {
    let number = |command: &Command| match command {
        Command::EnterOrder(order) if order.port == PortId(port) => Some(order.user_ref_num.0),
        Command::Quote(quote) if quote.port == PortId(port) => Some(quote.user_ref_num.0),
        _ => None,
    };
    commands.iter().filter_map(number).collect()
}

#[test]
fn a_mass_quote_waits_for_room_and_nothing_overtakes_it() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(Config { input_size: 4096, ..config() }, &dir);
    let mut member = join(&mut venue, dialer.connect(), 1, 2);
    let mut other = join(&mut venue, dialer.connect(), 2, 2);
    settle(&mut venue, &mut [&mut member, &mut other]);
    let already = venue.behind.commands.len();
    // The ring has 64 places. Sixty are taken, then 64 quotes come and an order behind them.
    for n in 1..=60 {
        assert!(member.session.send(&enter_order(n)));
    }
    assert!(member.session.send(&mass_quote(61, 64)));
    assert!(member.session.send(&enter_order(1_000)));
    for _ in 0..20 {
        member.pump(venue.now, usize::MAX);
        venue.gateway.poll(venue.now);
    }
    assert_eq!(venue.gateway.counters().messages_in, 61, "60 orders and all of the quotes are taken");
    // Others are not read from meanwhile, nobody is let in, and the member's end waits its turn.
    assert!(other.session.send(&enter_order(1)));
    let mut late = Member::new(dialer.connect(), venue.now).login(3, "secret", "", 1);
    drop(member);
    for taken in 1..=59 {
        venue.behind.execute(1);
        other.pump(venue.now, usize::MAX);
        late.pump(venue.now, usize::MAX);
        venue.gateway.poll(venue.now);
        assert_eq!(venue.gateway.counters().messages_in, 61, "{taken} of the ring's places came free");
        assert_eq!(venue.gateway.counters().logins, 2);
    }
    settle(&mut venue, &mut [&mut other, &mut late]);
    assert_eq!(late.heard[0], Heard::In(SESSION, 1));
    let commands = &venue.behind.commands[already..];
    let expected: Vec<u32> = (1..=60).chain((61..).step_by(2).take(64)).collect();
    let of_member = numbers_of(commands, 1);
    assert_eq!(of_member[..124], expected);
    assert_eq!(numbers_of(commands, 2), [1]);
    let at = |wanted: &dyn Fn(&Command) -> bool| commands.iter().position(wanted).expect("it came");
    let last_quote = at(&|c| matches!(c, Command::Quote(quote) if quote.user_ref_num.0 == 187));
    let logout = at(&|c| matches!(c, Command::Logout(logout) if logout.port == PortId(1)));
    let login = at(&|c| matches!(c, Command::Login(login) if login.port == PortId(3)));
    let order = at(&|c| matches!(c, Command::EnterOrder(order) if order.port == PortId(2)));
    assert!(last_quote < logout && last_quote < login && last_quote < order, "{commands:?}");
}

#[test]
fn a_mass_quote_taken_before_a_drain_is_handed_on_whole() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(Config { input_size: 4096, ..config() }, &dir);
    let mut member = join(&mut venue, dialer.connect(), 1, 2);
    settle(&mut venue, &mut [&mut member]);
    assert!(member.session.send(&enter_order(1)));
    assert!(member.session.send(&mass_quote(2, 64)));
    for _ in 0..20 {
        member.pump(venue.now, usize::MAX);
        venue.gateway.poll(venue.now);
    }
    venue.gateway.stop_accepting();
    settle(&mut venue, &mut [&mut member]);
    let expected: Vec<u32> = [1].into_iter().chain((2..).step_by(2).take(64)).collect();
    assert_eq!(numbers_of(&venue.behind.commands, 1), expected);
    assert_eq!(member.messages().len(), 65, "and every quote is answered");
}

#[test]
fn what_is_no_command_is_explained_and_too_much_of_it_closes() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let mut member = join(&mut venue, dialer.connect(), 1, 2);
    for bytes in [b"".as_slice(), b"?", b"X\0\0", b"D\0\0\0\x01AAAA\0", b"M\0\0\0\x01Z\0\0\0\x01"] {
        assert!(member.session.send(bytes));
    }
    settle(&mut venue, &mut [&mut member]);
    let expected = [
        "OUCH inbound at byte 0: no type byte",
        "OUCH inbound '?' at byte 0: no such type",
        "OUCH inbound 'X' at byte 3: 3 bytes where the layout has 9",
        "OUCH inbound 'D' at byte 9: 10 bytes where the layout has 11",
        "OUCH inbound 'M': 'Z' is no side",
    ];
    assert_eq!(member.heard[1..], expected.map(|text| Heard::Debug(text.into())));
    for _ in 5..16 {
        assert!(member.session.send(b"?"));
    }
    assert!(member.session.send(&enter_order(1)));
    hears(&mut venue, &mut member, 1);
    assert!(member.session.send(b"?"));
    settle(&mut venue, &mut [&mut member]);
    assert!(member.is_closed());
    let counters = venue.gateway.counters();
    assert_eq!((counters.malformed, counters.violations, counters.messages_in), (17, 1, 1));
}

#[test]
fn silence_is_cut_off_and_heartbeats_prevent_it() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let mut alive = join(&mut venue, dialer.connect(), 1, 1);
    let dead = join(&mut venue, dialer.connect(), 2, 1);
    let mut nobody = Member::new(dialer.connect(), venue.now);
    settle(&mut venue, &mut [&mut nobody]);
    for half in 1..=62 {
        venue.now = Nanos(SECOND + half * SECOND / 2);
        alive.session.on_time(venue.now).expect("the gateway beats");
        settle(&mut venue, &mut [&mut alive, &mut nobody]);
        assert_eq!(venue.gateway.logged_in(), if half < 30 { 2 } else { 1 }, "{half} half seconds");
        assert_eq!(nobody.is_closed(), half >= 60, "{half} half seconds");
    }
    assert!(!alive.is_closed());
    assert_eq!(venue.gateway.counters().violations, 2);
    drop(dead);
}

#[test]
fn a_new_day_ends_the_session_and_counts_from_one() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let mut member = join(&mut venue, dialer.connect(), 1, 1);
    assert!(member.session.send(&enter_order(1)));
    hears(&mut venue, &mut member, 2);
    venue.behind.say(EventBody::DayOpened(OpenDay { date: 20_261_122, midnight: Nanos(DAY.midnight.0 + 1) }));
    settle(&mut venue, &mut [&mut member]);
    assert_eq!(member.heard[3..], [Heard::Ended, Heard::Closed]);
    let mut member = Member::new(dialer.connect(), venue.now).login(1, "secret", "0020261121", 1);
    settle(&mut venue, &mut [&mut member]);
    assert_eq!(member.heard[0], Heard::Refused(Refusal::NoSession));
    let mut member = Member::new(dialer.connect(), venue.now).login(1, "secret", "", 1);
    settle(&mut venue, &mut [&mut member]);
    assert_eq!(member.heard[0], Heard::In(*b"0020261122", 1));
    let messages = member.messages();
    assert_eq!(messages.len(), 1);
    assert!(matches!(Told::parse(&messages[0].1), Ok(Told::SystemEvent(..))));
}

#[test]
fn too_many_connections_are_turned_away() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(Config { sessions_max: 2, ..config() }, &dir);
    let mut members: Vec<_> = (0..3).map(|_| Member::new(dialer.connect(), venue.now)).collect();
    venue.turn();
    members.iter_mut().for_each(|member| member.pump(venue.now, usize::MAX));
    assert_eq!(members.iter().map(Member::is_closed).collect::<Vec<_>>(), [false, false, true]);
    drop(members);
    settle::<MemStream>(&mut venue, &mut []);
    join(&mut venue, dialer.connect(), 1, 1);
    assert_eq!(venue.gateway.counters().turned_away, 1);
}

#[test]
fn a_draining_gateway_takes_nothing_and_still_tells() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let mut member = join(&mut venue, dialer.connect(), 1, 2);
    assert!(member.session.send(&enter_order(1)));
    member.pump(venue.now, usize::MAX);
    venue.gateway.poll(venue.now);
    venue.gateway.stop_accepting();
    assert!(member.session.send(&enter_order(2)));
    let mut late = Member::new(dialer.connect(), venue.now).login(2, "secret", "", 1);
    hears(&mut venue, &mut member, 1);
    settle(&mut venue, &mut [&mut member, &mut late]);
    assert_eq!((member.messages().len(), late.heard.len()), (1, 0));
    assert_eq!(venue.gateway.counters().messages_in, 1);
}

#[test]
fn latencies_are_counted_from_the_read_to_the_write() {
    let dir = Dir::new();
    let (mut venue, dialer) = mem_venue(config(), &dir);
    let mut member = join(&mut venue, dialer.connect(), 1, 1);
    assert!(member.session.send(&enter_order(1)));
    member.pump(venue.now, usize::MAX);
    let mut stages = Vec::new();
    venue.gateway.poll_observed(venue.now, &mut |stage, _| stages.push(stage));
    let inbound = venue.behind.from_gateway.pop().expect("the order came");
    assert!(inbound.received > 0);
    let Command::EnterOrder(order) = inbound.command else { panic!("{inbound:?}") };
    let event = event(99, EventBody::Accepted(venue::accepted(&order, 99)));
    let outbound = ironbell_types::Outbound { received: inbound.received, event };
    venue.behind.to_gateway.push(outbound).expect("the ring is empty");
    venue.gateway.poll_observed(venue.now, &mut |stage, _| stages.push(stage));
    assert_eq!(stages, [ironbell_gateway::Stage::In, ironbell_gateway::Stage::Out]);
}

#[test]
fn real_sockets_and_real_passwords() {
    let dir = Dir::new();
    let acceptor = KernelAcceptor::bind(([127, 0, 0, 1], 0).into()).expect("loopback can be listened on");
    let checker = ArgonChecker::start().expect("a thread can be started");
    let mut venue = Venue::open(config(), acceptor, checker, &dir, hash_password(b"Secret", [3; 16]));
    let addr = venue.gateway.local_addr();
    let connect = || Connection::connect(addr).expect("loopback can be reached");
    let wait =
        |venue: &mut Venue<KernelAcceptor, ArgonChecker>, member: &mut Member<Connection>, count: usize| {
            // The login thread and the kernel take their time; there is no deadline to miss.
            while member.heard.len() < count {
                venue.turn();
                member.pump(venue.now, usize::MAX);
            }
        };
    let mut wrong = Member::new(connect(), venue.now).login(1, "secret2", "", 1);
    wait(&mut venue, &mut wrong, 2);
    assert_eq!(wrong.heard, [Heard::Refused(Refusal::NotAuthorized), Heard::Closed]);
    let mut unknown = Member::new(connect(), venue.now).login(9, "secret", "", 1);
    wait(&mut venue, &mut unknown, 2);
    assert_eq!(unknown.heard[0], Heard::Refused(Refusal::NotAuthorized));
    let mut member = Member::new(connect(), venue.now).login(1, "secret", "", 1);
    wait(&mut venue, &mut member, 2);
    for n in 1..=200 {
        assert!(member.session.send(&enter_order(n)));
        wait(&mut venue, &mut member, n as usize + 2);
    }
    assert_eq!(member.messages().len(), 201);
    drop(member);
    while venue.gateway.logged_in() > 0 {
        venue.turn();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Over lines that stall, cut bytes short and break, a member that reconnects with its number hears
    /// every answer once and in order.
    #[test]
    fn bad_lines_lose_and_repeat_nothing(seed in any::<u64>(), short in 0_u16..40_000, stall in 0_u16..20_000, cut in 0_u16..600) {
        let dir = Dir::new();
        let (acceptor, dialer) = network(256);
        let faults = Faults { short, stall, cut };
        let acceptor = Faulty::new(acceptor, faults, seed);
        let mut venue = Venue::open(config(), acceptor, Plain::default(), &dir, plain("SECRET"));
        let (mut heard, mut sent) = (Vec::new(), 0);
        let mut line = 0;
        while heard.len() < 61 {
            line += 1;
            prop_assert!(line < 100_000, "it makes no headway");
            let stream = Faulty::new(dialer.connect(), faults, seed ^ line);
            let mut member = Member::new(stream, venue.now).login(1, "secret", "", heard.len() as u64 + 1);
            for _ in 0..2_000 {
                if member.session.is_up() && sent < 60 && member.session.send(&enter_order(sent + 1)) {
                    sent += 1;
                }
                member.pump(venue.now, usize::MAX);
                venue.turn();
                if member.is_closed() || heard.len() + member.messages().len() >= 61 {
                    break;
                }
            }
            heard.extend(member.messages());
            // What was lost on the way in is sent again: here the stand-in does not mind gaps, so the
            // member asks only for what has not been answered at all.
            if sent == 60 && heard.len() < 61 {
                sent = 59;
            }
        }
        let numbers: Vec<u64> = heard.iter().map(|(number, _)| *number).collect();
        prop_assert_eq!(numbers, (1..=heard.len() as u64).collect::<Vec<_>>());
    }

    /// Whatever one connection sends, nothing panics, it is no message of another port, and the others
    /// are served.
    #[test]
    fn garbage_harms_only_its_sender(
        logged_in in any::<bool>(),
        packets in prop::collection::vec(
            (prop_oneof![Just(b'U'), Just(b'L'), Just(b'+'), Just(b'R'), any::<u8>()], prop::collection::vec(any::<u8>(), 0..70)),
            0..40,
        ),
        raw in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let dir = Dir::new();
        let (mut venue, dialer) = mem_venue(config(), &dir);
        let mut honest = join(&mut venue, dialer.connect(), 1, 2);
        let mut bytes = Vec::new();
        for (packet_type, payload) in packets {
            bytes.extend_from_slice(&(payload.len() as u16 + 1).to_be_bytes());
            bytes.push(packet_type);
            bytes.extend_from_slice(&payload);
        }
        bytes.extend_from_slice(&raw);
        let mut stream = if logged_in {
            join(&mut venue, dialer.connect(), 2, 2).stream.expect("it is in")
        } else {
            dialer.connect()
        };
        let mut at = 0;
        for _ in 0..200 {
            at += stream.write(&bytes[at..]).unwrap_or(bytes.len() - at);
            venue.gateway.poll(venue.now);
            while let Ok(inbound) = venue.behind.from_gateway.pop() {
                match inbound.command {
                    Command::Login(Login { port }) | Command::Logout(Logout { port, .. }) => prop_assert!(port != PortId(1)),
                    Command::EnterOrder(order) => prop_assert_eq!(order.port, PortId(2)),
                    Command::ReplaceOrder(order) => prop_assert_eq!(order.port, PortId(2)),
                    Command::CancelOrder(order) => prop_assert_eq!(order.port, PortId(2)),
                    Command::ModifyOrder(order) => prop_assert_eq!(order.port, PortId(2)),
                    Command::MassCancel(request) => prop_assert_eq!(request.port, PortId(2)),
                    Command::DisableOrderEntry(switch) | Command::EnableOrderEntry(switch) => {
                        prop_assert_eq!(switch.port, PortId(2));
                    }
                    Command::AccountQuery(query) => prop_assert_eq!(query.port, PortId(2)),
                    Command::Quote(quote) => prop_assert_eq!(quote.port, PortId(2)),
                    Command::OrderStateQuery(query) => prop_assert_eq!(query.port, PortId(2)),
                    Command::DeadMan(timer) => prop_assert_eq!(timer.port, PortId(2)),
                    other => prop_assert!(false, "a member cannot send {:?}", other),
                }
            }
        }
        prop_assert!(venue.gateway.failure().is_none());
        assert!(honest.session.send(&enter_order(1)));
        hears(&mut venue, &mut honest, 1);
    }
}
