//! Both ends of a link, joined by hand, and what they stand on.

use ironbell_record::frame::{Stamp, lay_out};
use ironbell_record::superblock::Voids;
use ironbell_record::{
    Chain, ChainHash, Executed, FRAME_BYTES_MAX, FrameCopy, Identity, Place, Point, copy::COPY_BYTES_MAX,
};
use ironbell_types::{Command, Nanos, Seq, Sequenced};

use crate::history::{self, Epochs, Relation};
use crate::message::{Ack, Asks, Hello, Log, Message, Refusal, Stream, Told};
use crate::primary::{self, Next};
use crate::register::{AckPolicy, NodeId};
use crate::standby::{self, Fault, Heard};
use crate::transfer::{Came, Giving, Taking};
use crate::{Backlog, Reached};

const VENUE: Identity = Identity { cluster: [3; 16], key: 5 };
const MS: u64 = 1_000_000;

/// A history: copies of its frames, and the points between them.
struct History {
    chain: Chain,
    copies: Vec<Vec<u8>>,
    points: Vec<Point>,
}

impl History {
    fn new() -> Self {
        let chain = Chain::genesis(&VENUE);
        Self { chain, copies: Vec::new(), points: vec![chain.point()] }
    }

    /// Goes on with a frame of `count` commands in `epoch`, which says this output hash of everything before it.
    fn frame(&mut self, epoch: u64, count: u64, output_hash: u128) {
        let first = self.chain.last_seq.0 + 1;
        let commands: Vec<Sequenced> = (first..first + count)
            .map(|seq| Sequenced { seq: Seq(seq), time: Nanos(seq), command: Command::Tick })
            .collect();
        let stamp = Stamp {
            place: Place { nonce: [1; 16], offset: 4096 },
            epoch,
            durable_frames: 0,
            commit: self.chain.commit,
            executed: match self.chain.last_seq {
                Seq(0) => Executed::NOTHING,
                seq => Executed { seq, output_hash },
            },
        };
        let mut bytes = vec![0; FRAME_BYTES_MAX];
        let header = lay_out(&self.chain, &stamp, &commands, &mut bytes);
        let copy = FrameCopy::of(&header, &bytes);
        let mut encoded = vec![0; copy.encoded_bytes()];
        copy.encode_into(&mut encoded);
        self.copies.push(encoded);
        self.chain.advance(&header);
        self.points.push(self.chain.point());
    }

    fn of(frames: &[(u64, u64)]) -> Self {
        let mut history = Self::new();
        frames.iter().for_each(|(epoch, count)| history.frame(*epoch, *count, 7));
        history
    }

    fn copy(&self, number: usize) -> FrameCopy<'_> {
        FrameCopy::decode(&self.copies[number]).expect("it was encoded").0
    }

    fn last(&self) -> Point {
        self.chain.point()
    }

    fn epochs(&self) -> Epochs {
        Epochs::new(VENUE, self.points[0], &self.points[1..])
    }

    fn hello(&self, promised: u64) -> Hello {
        Hello {
            identity: VENUE,
            node: NodeId::TWO,
            ack: AckPolicy::BothDurable,
            asks: Asks::Frames,
            promised,
            leading: None,
            last: self.last(),
            epochs: self.epochs().points().to_vec(),
            voids: Voids::NONE,
        }
    }

    fn backlog(&self, bytes: usize, from: usize) -> Backlog {
        let mut backlog = Backlog::new(bytes, self.points[from]);
        (from..self.copies.len()).for_each(|number| backlog.push(&self.copy(number)));
        backlog
    }
}

fn config() -> primary::Config {
    primary::Config { keep_alive: Nanos(10 * MS), catch_up_bytes_per_s: 100_000 }
}

fn messages(mut bytes: &[u8]) -> Vec<Message<'_>> {
    let mut messages = Vec::new();
    while let Some((message, length)) = Message::decode(bytes).expect("sound") {
        messages.push(message);
        bytes = &bytes[length..];
    }
    assert!(bytes.is_empty());
    messages
}

/// A standby that has promised `epoch` and follows its primary there, behind `from`.
fn follower(epoch: u64, from: Point) -> standby::Link {
    let mut link = standby::Link::new(epoch, from, Executed::NOTHING);
    assert_eq!(link.receive(&Message::Follow { epoch, from }, Nanos(1)), Ok(Heard::Nothing));
    link
}

#[test]
fn frames_go_over_and_acknowledgements_come_back() {
    let history = History::of(&[(1, 0), (1, 3), (1, 2)]);
    let backlog = history.backlog(COPY_BYTES_MAX, 0);
    let mut out = Vec::new();
    let mut primary = primary::Link::new(config(), 4, history.points[0], Nanos(0), &mut out);
    assert_eq!(primary.poll(&backlog, Seq(3), Nanos(100), 1 << 20, &mut out), Next::Nothing);
    let mut standby = standby::Link::new(2, history.points[0], Executed::NOTHING);
    let mut heard = 0;
    for message in messages(&out) {
        match standby.receive(&message, Nanos(5)).expect("it fits") {
            Heard::Promise(4) => {
                let mut none = Vec::new();
                assert!(!standby.acknowledge(Nanos(5), &mut none), "nothing before the promise is durable");
                standby.promised(4);
            }
            Heard::Frame(copy) => {
                assert_eq!(copy, history.copy(heard));
                standby.appended(&copy).expect("nothing is executed yet");
                heard += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((heard, standby.received()), (3, history.last()));
    assert_eq!(standby.commit(), Seq(3));
    standby.durable(history.points[2]);
    let mut back = Vec::new();
    assert!(standby.acknowledge(Nanos(6), &mut back));
    assert!(!standby.acknowledge(Nanos(7), &mut back), "nothing new");
    assert_eq!((standby.acked_at(), standby.heard_at()), (Some(Nanos(6)), Some(Nanos(5))));
    let [Message::Ack(ack)] = messages(&back)[..] else { panic!("one acknowledgement") };
    assert_eq!(primary.permission_end(Nanos(50)), None);
    primary.ack(&ack, &backlog, Nanos(9)).expect("it is ours");
    assert_eq!(primary.reached(), Reached { received: Seq(5), durable: Seq(3) });
    assert_eq!(primary.permission_end(Nanos(50)), Some(Nanos(150)), "counted from sending");
    assert_eq!(primary.lag(&backlog, Nanos(30)).commands, 2);
    // In another epoch nothing of that counts.
    primary.begin_epoch(5, &mut out);
    primary.ack(&ack, &backlog, Nanos(10)).expect("it means nothing");
    assert_eq!((primary.reached(), primary.permission_end(Nanos(50))), (Reached::default(), None));
}

#[test]
fn an_acknowledgement_of_another_history_is_found_out() {
    let history = History::of(&[(1, 0), (1, 3)]);
    let backlog = history.backlog(COPY_BYTES_MAX, 0);
    let mut out = Vec::new();
    let mut primary = primary::Link::new(config(), 1, history.points[0], Nanos(0), &mut out);
    primary.poll(&backlog, Seq(0), Nanos(1), 1 << 20, &mut out);
    let ack = |durable| Ack {
        epoch: 1,
        received: history.last(),
        durable,
        applied: Executed::NOTHING,
        echo: Nanos(u64::MAX),
    };
    let wrong = Point { hash: ChainHash([9; 32]), ..history.points[1] };
    let beyond = Point { frames: 9, ..history.last() };
    for durable in [wrong, beyond] {
        let found = primary.ack(&ack(durable), &backlog, Nanos(2)).unwrap_err();
        assert_eq!(found.acknowledged, durable);
    }
    primary.ack(&ack(history.last()), &backlog, Nanos(2)).expect("it is ours");
    assert_eq!(primary.permission_end(Nanos(10)), Some(Nanos(11)), "nobody echoes what was not sent");
}

#[test]
fn nothing_is_acknowledged_below_a_promise() {
    let history = History::of(&[(1, 0), (1, 3)]);
    let mut standby = follower(4, history.points[0]);
    let mut out = Vec::new();
    assert!(standby.acknowledge(Nanos(1), &mut out));
    standby.promised(5);
    let alive = Message::KeepAlive { epoch: 4, sent_at: Nanos(2), commit: Seq(0), appended: Seq(0) };
    let refused = Fault::Epoch { epoch: 4, promised: 5 };
    assert_eq!(standby.receive(&alive, Nanos(2)), Err(refused));
    assert_eq!(refused.refusal(), Refusal::Epoch);
    assert!(!standby.acknowledge(Nanos(3), &mut out));
    let follow = Message::Follow { epoch: 4, from: history.points[0] };
    let mut new = standby::Link::new(5, history.points[0], Executed::NOTHING);
    assert_eq!(new.receive(&follow, Nanos(3)), Err(refused));
}

#[test]
fn what_comes_twice_is_passed_over_and_a_gap_ends_the_link() {
    let history = History::of(&[(1, 0), (1, 3), (1, 1)]);
    let backlog = history.backlog(COPY_BYTES_MAX, 0);
    let mut out = Vec::new();
    let mut primary = primary::Link::new(config(), 1, history.points[0], Nanos(0), &mut out);
    primary.poll(&backlog, Seq(0), Nanos(1), 1 << 20, &mut out);
    let messages = messages(&out);
    let mut standby = follower(1, history.points[0]);
    assert_eq!(standby.receive(&messages[1], Nanos(2)), Ok(Heard::Frame(history.copy(0))));
    standby.appended(&history.copy(0)).expect("it is the first");
    assert_eq!(standby.receive(&messages[0], Nanos(2)), Ok(Heard::Nothing));
    assert_eq!(standby.receive(&messages[1], Nanos(2)), Ok(Heard::Nothing));
    assert_eq!(standby.receive(&messages[3], Nanos(2)), Err(Fault::Gap { expected: 1, found: 2 }));
}

#[test]
fn another_output_hash_halts_the_standby() {
    let mut history = History::of(&[(1, 0), (1, 3)]);
    history.frame(1, 1, 0xbad);
    let hash = |seq, output_hash| Executed { seq: Seq(seq), output_hash };
    // Executed after the frame that tells of it came, and before.
    for executed_first in [false, true] {
        let mut standby = follower(1, history.points[0]);
        standby.appended(&history.copy(0)).expect("nothing was executed");
        standby.appended(&history.copy(1)).expect("nothing was executed");
        let fault = if executed_first {
            standby.applied(hash(3, 0x600d)).expect("nobody has said anything of it");
            standby.appended(&history.copy(2)).unwrap_err()
        } else {
            standby.appended(&history.copy(2)).expect("it is not executed");
            standby.applied(hash(3, 0x600d)).unwrap_err()
        };
        assert_eq!(fault, Fault::OutputHash { seq: Seq(3), here: 0x600d, there: 0xbad });
        assert!(fault.halts());
    }
}

#[test]
fn a_standby_holds_what_is_committed_when_it_has_the_frame_that_began_the_epoch() {
    let history = History::of(&[(1, 0), (1, 3), (4, 0), (4, 2)]);
    let mut standby = follower(4, history.points[2]);
    let alive = |commit| Message::KeepAlive { epoch: 4, sent_at: Nanos(2), commit, appended: Seq(5) };
    // A primary that has just started does not know yet how much was once committed.
    standby.receive(&alive(Seq(1)), Nanos(2)).expect("it is alive");
    assert!(!standby.holds_commit());
    standby.appended(&history.copy(2)).expect("it is next");
    assert!(!standby.holds_commit());
    standby.durable(history.points[3]);
    assert!(standby.holds_commit());
}

#[test]
fn who_is_behind_the_backlog_reads_from_the_journal_and_joins_without_a_gap() {
    let history = History::of(&[(1, 0), (1, 3), (1, 1), (1, 4), (1, 2), (1, 5)]);
    let backlog = history.backlog(COPY_BYTES_MAX, 2);
    let mut out = Vec::new();
    let mut primary = primary::Link::new(config(), 1, history.points[0], Nanos(0), &mut out);
    out.clear();
    assert!(!primary.is_live(&backlog));
    assert_eq!(primary.poll(&backlog, Seq(0), Nanos(0), 1 << 20, &mut out), Next::Nothing, "not for free");
    assert_eq!(primary.poll(&backlog, Seq(0), Nanos(MS), 1 << 20, &mut out), Next::Journal(0));
    assert!(!primary.catch_up(&history.copy(1), Seq(0), Nanos(MS), &mut out), "not the next");
    assert!(primary.catch_up(&history.copy(0), Seq(0), Nanos(MS), &mut out));
    assert!(primary.catch_up(&history.copy(1), Seq(0), Nanos(MS), &mut out));
    assert_eq!(primary.sent(), history.points[2]);
    assert!(primary.is_live(&backlog));
    assert_eq!(primary.poll(&backlog, Seq(0), Nanos(MS), 1 << 20, &mut out), Next::Nothing);
    let numbers: Vec<u64> = messages(&out)
        .iter()
        .map(|message| match message {
            Message::Frame(head, _) => head.number,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_silent_link_says_that_it_is_alive() {
    let history = History::of(&[(1, 0)]);
    let backlog = history.backlog(COPY_BYTES_MAX, 0);
    let mut out = Vec::new();
    let mut primary = primary::Link::new(config(), 1, history.last(), Nanos(0), &mut out);
    out.clear();
    primary.poll(&backlog, Seq(0), Nanos(10 * MS - 1), 1 << 20, &mut out);
    assert!(out.is_empty());
    primary.poll(&backlog, Seq(0), Nanos(10 * MS), 1 << 20, &mut out);
    assert!(matches!(messages(&out)[..], [Message::KeepAlive { epoch: 1, sent_at: Nanos(10_000_000), .. }]));
}

#[test]
fn a_backlog_keeps_the_newest_whole() {
    let mut history = History::new();
    let mut backlog = Backlog::new(COPY_BYTES_MAX, history.last());
    let mut seed = 1_u64;
    for number in 0..600_u64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(number);
        history.frame(1, if seed >> 60 == 0 { 1024 } else { (seed >> 33) % 90 }, 7);
        backlog.push(&history.copy(number as usize));
        let oldest = backlog.oldest();
        assert!(oldest <= number);
        for kept in oldest..=number {
            let found = backlog.get(kept).expect("it is kept");
            assert_eq!(found.encoded, &history.copies[kept as usize][..], "frame {kept} after {number}");
            assert_eq!(found.point, history.points[kept as usize + 1]);
        }
        assert!(backlog.get(number + 1).is_none());
        assert!(oldest == 0 || backlog.get(oldest - 1).is_none());
        let bytes: usize = history.copies[oldest as usize..].iter().map(Vec::len).sum();
        assert_eq!(backlog.bytes_from(oldest), Some(bytes as u64));
        assert!(bytes <= COPY_BYTES_MAX);
    }
    assert!(backlog.oldest() > 300, "it never had to forget");
}

#[test]
fn where_two_histories_part() {
    let whole = History::of(&[(1, 0), (1, 3), (2, 0), (4, 0), (4, 2)]);
    let begins = History::of(&[(1, 0), (1, 3), (2, 0)]);
    let within = History::of(&[(1, 0), (1, 3), (2, 0), (4, 0)]);
    let other = History::of(&[(1, 0), (1, 3), (2, 0), (2, 5), (3, 0)]);
    let empty = History::new();
    let relation = |ours: &History, theirs: &History| ours.epochs().relation(&theirs.hello(9));
    assert_eq!(relation(&whole, &whole), Relation::Same);
    assert_eq!(relation(&empty, &empty), Relation::Same);
    for part in [&begins, &within, &empty] {
        assert_eq!(relation(&whole, part), Relation::Behind);
        assert_eq!(relation(part, &whole), Relation::Ahead);
    }
    assert_eq!(relation(&whole, &other), Relation::Parted(begins.last()));
    assert_eq!(relation(&other, &whole), Relation::Parted(begins.last()));
    // One epoch, two histories: nobody may go on.
    let liar = History::of(&[(1, 1), (1, 2)]);
    assert_eq!(relation(&liar, &History::of(&[(1, 0), (1, 3)])), Relation::Diverged { epoch: 1 });
    // Read from a snapshot on: what lies before is not known.
    let cut = Epochs::new(VENUE, begins.last(), &[]);
    assert_eq!(cut.last(), begins.last());
    let early = History::of(&[(1, 0), (1, 1)]);
    let cut_later = Epochs::new(VENUE, within.last(), &[]);
    assert_eq!(cut_later.relation(&early.hello(0)), Relation::NoCommonPoint);
    // But who has nothing has a beginning of everything.
    assert_eq!(cut.relation(&empty.hello(0)), Relation::Behind);
    assert_eq!(cut.relation(&other.hello(0)), Relation::Ahead);
}

#[test]
fn what_a_primary_answers_to_a_hello() {
    let ours = History::of(&[(1, 0), (1, 3), (2, 0), (4, 0)]);
    let part = History::of(&[(1, 0), (1, 3), (2, 0), (2, 6)]);
    let answer =
        |hello: &Hello| history::answer(&ours.epochs(), NodeId::ONE, AckPolicy::BothDurable, 4, hello);
    let hello = part.hello(4);
    assert_eq!(answer(&hello), Ok(ours.points[3]));
    let refused = [
        (Hello { identity: Identity { key: 6, ..VENUE }, ..hello.clone() }, Refusal::Venue),
        (Hello { node: NodeId::ONE, ..hello.clone() }, Refusal::Node),
        (Hello { ack: AckPolicy::Local, ..hello.clone() }, Refusal::Policy),
        (Hello { leading: Some(3), ..hello.clone() }, Refusal::Leads),
        (Hello { promised: 5, ..hello.clone() }, Refusal::Epoch),
    ];
    for (hello, why) in refused {
        assert_eq!(answer(&hello), Err(why));
    }
}

/// A snapshot of 5 bytes behind frame 1 of `history`, and two streams, as messages.
fn snapshot_messages(history: &History) -> Vec<Vec<u8>> {
    let mut told = Vec::new();
    for message in [&b"login"[..], b"", b"fill"] {
        Told::push(message, &mut told);
    }
    let stream = |log, stream, messages| Message::Stream(Stream { log, stream, generation: 2, messages });
    let messages = [
        Message::Snapshot { bytes: 5 },
        Message::Part { offset: 0, bytes: b"abc" },
        Message::Part { offset: 3, bytes: b"de" },
        Message::Tail(1, history.copy(1)),
        stream(Log::Sessions, 4, 3),
        Message::Told(Told::new(&told).expect("three messages")),
        stream(Log::Feed, 0, 0),
        Message::SnapshotEnd { last: history.points[2], streams: 2 },
    ];
    let encode = |message: &Message<'_>| {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        bytes
    };
    messages.iter().map(encode).collect()
}

fn take(taking: &mut Taking, encoded: &[Vec<u8>]) -> Result<Option<Point>, Fault> {
    let mut whole = None;
    for bytes in encoded {
        let (message, _) = Message::decode(bytes).expect("sound").expect("whole");
        if let Came::Whole(last) = taking.receive(&message)? {
            whole = Some(last);
        }
    }
    Ok(whole)
}

#[test]
fn a_snapshot_is_there_when_all_of_it_came_in_order_and_not_before() {
    let history = History::of(&[(1, 0), (1, 3)]);
    let all = snapshot_messages(&history);
    let mut taking = Taking::new(Nanos(0));
    assert_eq!(take(&mut taking, &all), Ok(Some(history.last())));
    assert_eq!(taking.bytes(), 5 + 3 * 4 + 9);
    // Nothing may be missing, come twice, or come before or after its turn.
    for missing in 0..all.len() - 1 {
        let mut some = all.clone();
        some.remove(missing);
        assert!(take(&mut Taking::new(Nanos(0)), &some).is_err(), "without message {missing}");
    }
    for twice in 0..all.len() {
        let mut more = all.clone();
        more.insert(twice, all[twice].clone());
        assert!(take(&mut Taking::new(Nanos(0)), &more).is_err(), "message {twice} twice");
    }
    for first in 0..all.len() - 1 {
        let mut other = all.clone();
        other.swap(first, first + 1);
        assert!(take(&mut Taking::new(Nanos(0)), &other).is_err(), "message {first} later");
    }
    assert_eq!(take(&mut Taking::new(Nanos(0)), &all[..all.len() - 1]), Ok(None));
    let alive = Message::KeepAlive { epoch: 1, sent_at: Nanos(1), commit: Seq(0), appended: Seq(0) };
    assert_eq!(Taking::new(Nanos(0)).receive(&alive), Ok(Came::Nothing));
    let none = Message::Refused { why: Refusal::NoSnapshot, promised: 3 };
    assert_eq!(Taking::new(Nanos(0)).receive(&none), Ok(Came::Refused(Refusal::NoSnapshot)));
}

#[test]
fn a_snapshot_is_sent_no_faster_than_catch_up_and_its_link_is_never_silent() {
    let mut giving = Giving::new(config(), Nanos(0));
    assert!(!giving.may_send(Nanos(0)), "not for free");
    // 100,000 bytes a second, and at most a tenth of that at once.
    let (mut sent, mut now) = (0, 0);
    while now < 2_000 * MS {
        now += MS;
        if giving.may_send(Nanos(now)) {
            giving.sent(1_000, Nanos(now));
            sent += 1_000;
        }
    }
    assert!((195_000..=201_000).contains(&sent), "{sent} bytes in two seconds");
    let mut out = Vec::new();
    giving.sent(1_000, Nanos(now));
    giving.keep_alive(1, Seq(3), Seq(4), Nanos(now + 9 * MS), &mut out);
    assert!(out.is_empty());
    giving.keep_alive(1, Seq(3), Seq(4), Nanos(now + 10 * MS), &mut out);
    assert!(matches!(messages(&out)[..], [Message::KeepAlive { commit: Seq(3), appended: Seq(4), .. }]));
    let (mut taking, mut back) = (Taking::new(Nanos(0)), Vec::new());
    assert!(!taking.tell(Nanos(99 * MS), &mut back));
    assert!(taking.tell(Nanos(100 * MS), &mut back) && !taking.tell(Nanos(101 * MS), &mut back));
    assert_eq!(messages(&back), [Message::Taken { bytes: 0 }]);
}
