//! The exchange over real rings: every member hears of every other, in step, and no mail is lost or made.

use ironbell_sync::exchange;

/// A piece of mail: from whom, to whom, of which exchange; and which piece it is.
#[derive(Debug, Default)]
struct Mail {
    piece: usize,
    from: usize,
    to: usize,
    round: u64,
}

fn pieces(members: usize) -> impl FnMut() -> Box<Mail> {
    let mut piece = 0;
    move || {
        piece += 1;
        assert!(piece <= 2 * members * members);
        Box::new(Mail { piece, ..Mail::default() })
    }
}

fn rounds(members: usize, rounds: u64) {
    let ends = exchange(members, pieces(members));
    let threads: Vec<_> = ends
        .into_iter()
        .map(|mut end| {
            std::thread::spawn(move || {
                let (me, members) = (end.member(), end.members());
                for round in 1..=rounds {
                    let (inbox, outbox) = end.boxes();
                    assert_eq!((inbox.len(), outbox.len()), (members, members));
                    for (to, mail) in outbox.iter_mut().enumerate() {
                        (mail.from, mail.to, mail.round) = (me, to, round);
                    }
                    end.send();
                    while !end.receive() {
                        std::thread::yield_now();
                    }
                    for (from, mail) in end.boxes().0.iter().enumerate() {
                        assert_eq!((mail.from, mail.to, mail.round), (from, me, round));
                    }
                }
                let (inbox, outbox) = end.boxes();
                inbox.iter().chain(outbox.iter()).map(|mail| mail.piece).collect::<Vec<_>>()
            })
        })
        .collect();
    let held = threads.into_iter().flat_map(|thread| thread.join().expect("no member panics"));
    let mut held: Vec<_> = held.collect();
    held.sort_unstable();
    assert_eq!(held, (1..=2 * members * members).collect::<Vec<_>>(), "each piece is somewhere, once");
}

#[test]
fn every_member_hears_of_every_other_in_step() {
    for (members, exchanges) in [(1, 100), (2, 5_000), (3, 5_000), (7, 500), (16, 100)] {
        rounds(members, exchanges);
    }
}

#[test]
fn who_has_not_heard_of_all_is_not_done() {
    let mut ends = exchange(3, pieces(3));
    ends[0].send();
    assert!(!ends[0].receive());
    ends[2].send();
    assert!(!ends[0].receive() && !ends[2].receive(), "the second has said nothing");
    ends[1].send();
    assert!(ends[0].receive() && ends[1].receive());
    // One exchange ahead of the third, which has not taken anything yet.
    ends[0].send();
    ends[1].send();
    assert!(!ends[0].receive() && !ends[1].receive());
    assert!(ends[2].receive());
    ends[2].send();
    assert!(ends.iter_mut().all(exchange::Exchange::receive));
}

#[test]
#[should_panic(expected = "under way")]
fn nobody_sends_twice_in_an_exchange() {
    let mut ends = exchange(2, pieces(2));
    ends[0].send();
    ends[0].send();
}
