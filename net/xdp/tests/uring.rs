//! Kernel sockets on one io_uring, on loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use ironbell_device::kernel::KernelAcceptor;
use ironbell_device::{Closed, Nanos, SessionIo};
use ironbell_xdp::uring::{Config, Connection, Uring};

/// Generous: nothing here is measured.
const PATIENCE: Duration = Duration::from_secs(60);

fn uring(change: impl Fn(&mut Config)) -> Uring {
    let acceptor = KernelAcceptor::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
    let mut config = Config::new(512);
    change(&mut config);
    Uring::new(acceptor, &config).expect("Linux 6.1 has such a ring")
}

fn byte(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8
}

/// Polls until `done` says so.
fn until<T>(io: &mut Uring, mut done: impl FnMut(&mut Uring) -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        io.poll(Nanos(0));
        if let Some(value) = done(io) {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not come");
    }
}

fn connect(io: &mut Uring) -> (TcpStream, Connection) {
    let member = TcpStream::connect(io.local_addr()).expect("it listens");
    (member, until(io, |io| io.accept().expect("it accepts")))
}

#[test]
fn bytes_cross_both_ways_and_ends_are_seen() {
    let mut io = uring(|_| {});
    let (mut member, mut venue) = connect(&mut io);
    assert_eq!(io.read(&mut venue, &mut [0; 8]), Ok(0));
    member.write_all(b"order").expect("it stands");
    let mut buffer = [0; 3];
    until(&mut io, |io| (io.read(&mut venue, &mut buffer) == Ok(3)).then_some(()));
    assert_eq!(&buffer, b"ord");
    assert_eq!(io.read(&mut venue, &mut buffer), Ok(2));
    assert_eq!(io.write(&mut venue, b"ack"), Ok(3));
    let mut answer = [0; 3];
    member.read_exact(&mut answer).expect("it is sent");
    assert_eq!(&answer, b"ack");
    // The last bytes come before the end.
    member.write_all(b"bye").expect("it stands");
    member.shutdown(Shutdown::Write).expect("it stands");
    until(&mut io, |io| (io.read(&mut venue, &mut buffer) == Ok(3)).then_some(()));
    until(&mut io, |io| (io.read(&mut venue, &mut buffer) == Err(Closed::ByPeer)).then_some(()));
    assert_eq!(io.write(&mut venue, b"last"), Ok(4));
    io.close(venue);
    let mut rest = Vec::new();
    member.read_to_end(&mut rest).expect("the venue closes");
    assert_eq!(rest, b"last");
    assert_eq!(until(&mut io, |io| (io.connections() == 0).then_some(io.connections())), 0);
}

#[test]
fn who_is_closed_while_the_kernel_receives_is_gone() {
    let mut io = uring(|_| {});
    for _ in 0..1_000 {
        let (mut member, venue) = connect(&mut io);
        member.write_all(b"never read").expect("it stands");
        io.close(venue);
        until(&mut io, |io| (io.connections() == 0).then_some(()));
        // An end, or a reset because of what was not read.
        assert!(!matches!(member.read(&mut [0; 8]), Ok(1..)));
    }
}

/// A member who sends more than buffers hold and is not read: nothing is lost, and others are served meanwhile.
#[test]
fn one_who_is_not_read_takes_no_buffer_from_others() {
    const COUNT: u64 = 4 << 20;
    let mut io = uring(|config| {
        (config.buffers, config.buffer_size) = (8, 512);
    });
    let (member, mut greedy) = connect(&mut io);
    let sender = std::thread::spawn(move || {
        let mut member = member;
        for at in (0..COUNT).step_by(4_096) {
            let piece: Vec<u8> = (at..at + 4_096).map(byte).collect();
            member.write_all(&piece).expect("it is read in the end");
        }
    });
    let (mut modest, mut venue) = connect(&mut io);
    for _ in 0..200 {
        modest.write_all(b"order").expect("it stands");
        let mut got = 0;
        until(&mut io, |io| {
            got += io.read(&mut venue, &mut [0; 5]).expect("it stands");
            (got == 5).then_some(())
        });
    }
    let (mut at, mut buffer) = (0, [0; 1_000]);
    until(&mut io, |io| match io.read(&mut greedy, &mut buffer) {
        Ok(len) => {
            for got in &buffer[..len] {
                assert_eq!(*got, byte(at), "at {at}");
                at += 1;
            }
            None
        }
        Err(end) => {
            assert_eq!(end, Closed::ByPeer);
            Some(())
        }
    });
    assert_eq!(at, COUNT);
    sender.join().expect("the sender ends");
}

#[test]
fn hundreds_of_sessions_echo_on_another_thread_than_it_was_made_on() {
    const SESSIONS: usize = 300;
    const ROUNDS: usize = 20;
    let mut io = uring(|config| config.buffers = 2);
    let addr = io.local_addr();
    let venue = std::thread::spawn(move || {
        let (mut connections, mut buffer, mut closed) = (Vec::new(), [0; 512], 0);
        let begun = Instant::now();
        while closed < SESSIONS {
            assert!(begun.elapsed() < PATIENCE, "{closed} of {SESSIONS} were served");
            io.poll(Nanos(0));
            while let Some(connection) = io.accept().expect("it accepts") {
                connections.push(connection);
            }
            let mut index = 0;
            while let Some(connection) = connections.get_mut(index) {
                match io.read(connection, &mut buffer) {
                    Ok(len) => {
                        assert_eq!(io.write(connection, &buffer[..len]), Ok(len));
                        index += 1;
                    }
                    Err(_) => {
                        io.close(connections.swap_remove(index));
                        closed += 1;
                    }
                }
            }
        }
    });
    let mut members: Vec<_> = (0..SESSIONS).map(|_| TcpStream::connect(addr).expect("it listens")).collect();
    for round in 0..ROUNDS {
        for (number, member) in members.iter_mut().enumerate() {
            member.write_all(&(number * ROUNDS + round).to_le_bytes()).expect("it stands");
        }
        for (number, member) in members.iter_mut().enumerate() {
            let mut answer = [0; 8];
            member.read_exact(&mut answer).expect("it answers");
            assert_eq!(usize::from_le_bytes(answer), number * ROUNDS + round);
        }
    }
    drop(members);
    venue.join().expect("the venue ends");
}
