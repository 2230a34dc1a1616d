//! A frame that goes to another node comes to the same link there, and nothing else does.

use ironbell_record::frame::{self, Cipher, Stamp};
use ironbell_record::{
    BLOCK_BYTES, Chain, ChainError, CopyError, DecodeError, DecodeFault, Executed, FRAME_BYTES_MAX, Frame,
    FrameCopy, FrameError, HEADER_BYTES, Identity, Place, Point, copy::COPY_BYTES_MAX,
};
use ironbell_types::{Command, MassCancelSlice, Nanos, Seq, Sequenced};

const VENUE: Identity = Identity { cluster: *b"sixteen letters!", key: 0x5eed };
const HERE: Place = Place { nonce: [1; 16], offset: BLOCK_BYTES as u64 };
const THERE: Place = Place { nonce: [2; 16], offset: 7 * BLOCK_BYTES as u64 };

fn commands(chain: &Chain, count: u64) -> Vec<Sequenced> {
    let nth = |nth| {
        let slice = MassCancelSlice { cause: Seq(nth), slice: nth as u32 };
        let seq = Seq(chain.last_seq.0 + nth);
        Sequenced { seq, time: Nanos(seq.0 * 10), command: Command::MassCancelSlice(slice) }
    };
    (1..=count).map(nth).collect()
}

fn stamp(chain: &Chain, epoch: u64) -> Stamp {
    let executed = Executed { seq: chain.last_seq, output_hash: 5 };
    Stamp { place: HERE, epoch, durable_frames: 0, commit: chain.commit, executed }
}

/// A frame behind `chain`, as bytes.
fn build(chain: &Chain, epoch: u64, count: u64) -> Vec<u8> {
    let mut bytes = vec![0xff; FRAME_BYTES_MAX];
    let header = frame::encode(chain, &stamp(chain, epoch), &commands(chain, count), None, &mut bytes);
    bytes.truncate(header.frame_bytes());
    bytes
}

/// The copy as it arrives.
fn sent(bytes: &[u8]) -> Vec<u8> {
    let frame = Frame::decode(bytes, &VENUE.cluster, HERE).expect("it is sound");
    let mut into = vec![0; frame.copy().encoded_bytes()];
    assert_eq!(frame.copy().encode_into(&mut into), into.len());
    into
}

/// XOR with what the nonce says: enough to see that records are not plain.
struct Xor;

impl Cipher for Xor {
    fn seal(&self, nonce: [u8; 12], _: &[u8], payload: &mut [u8]) -> [u8; 16] {
        payload.iter_mut().for_each(|byte| *byte ^= nonce[0] ^ 0x55);
        [9; 16]
    }

    fn open(&self, nonce: [u8; 12], also: &[u8], payload: &mut [u8], tag: &[u8; 16]) -> bool {
        self.seal(nonce, also, payload) == *tag
    }
}

#[test]
fn a_copy_elsewhere_continues_the_same_history_under_its_own_cipher() {
    let (mut here, mut there) = (Chain::genesis(&VENUE), Chain::genesis(&VENUE));
    assert_eq!(here.point(), Point::genesis(&VENUE));
    for (epoch, count) in [(1, 0), (1, 3), (2, 0), (2, 1024)] {
        let bytes = build(&here, epoch, count);
        let frame = Frame::decode(&bytes, &VENUE.cluster, HERE).expect("it is sound");
        let wire = sent(&bytes);
        assert!(wire.len() <= COPY_BYTES_MAX);
        let (copy, taken) = FrameCopy::decode(&wire).expect("it is sound");
        assert_eq!((copy, taken), (frame.copy(), wire.len()));

        let mut into = vec![0xee; FRAME_BYTES_MAX];
        let durable = there.frames / 2;
        let mut header =
            frame::lay_out_copy(&there, THERE, durable, &copy, &mut into).expect("it comes next");
        assert_eq!(FrameCopy::of(&header, &into), copy, "it may go on to a third node");
        frame::finish(&mut header, Some(&Xor), &mut into);
        into.truncate(header.frame_bytes());
        let found = Frame::decipher(&mut into, &VENUE.cluster, THERE, &Xor).expect("it is sound");
        assert_eq!(found.header, header);
        assert_eq!((header.number, header.durable_frames), (there.frames, durable));
        let mut read = Vec::new();
        found.commands(there.last_time, &mut read).expect("they are whole");
        assert_eq!(read, commands(&there, count));
        let mut heard = Vec::new();
        copy.commands(there.last_time, &mut heard).expect("they are whole");
        assert_eq!(heard, read);

        let point = copy.point(there.frames).expect("it is sound");
        let shared = copy.check(&there).expect("it comes next");
        let mut by_copy = there;
        by_copy.advance_copy(&shared, copy.chain);
        there.advance(&header);
        here.advance(&frame.header);
        assert_eq!((here, here, here.point()), (there, by_copy, point));
    }
}

#[test]
fn every_bit_of_a_copy_counts() {
    let chain = Chain::genesis(&VENUE);
    let wire = sent(&build(&chain, 1, 2));
    for bit in 0..wire.len() * 8 {
        let mut changed = wire.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let checked =
            FrameCopy::decode(&changed).map_err(CopyError::Frame).and_then(|(copy, _)| copy.check(&chain));
        assert!(checked.is_err(), "bit {bit} was flipped unseen");
    }
}

#[test]
fn a_copy_cut_anywhere_is_refused() {
    let wire = sent(&build(&Chain::genesis(&VENUE), 1, 2));
    for length in 0..wire.len() {
        assert_eq!(FrameCopy::decode(&wire[..length]).expect_err("it was cut"), FrameError::Truncated);
    }
    let (copy, _) = FrameCopy::decode(&wire).expect("it is whole");
    let cut = FrameCopy { records: &copy.records[..copy.records.len() - 1], ..copy };
    assert_eq!(cut.header(), Err(FrameError::Truncated));
}

#[test]
fn what_does_not_come_next_is_refused_and_says_why() {
    let genesis = Chain::genesis(&VENUE);
    let (first, second) = (build(&genesis, 2, 1), |chain: &Chain| sent(&build(chain, 1, 1)));
    let frame = Frame::decode(&first, &VENUE.cluster, HERE).expect("it is sound");
    let mut chain = genesis;
    chain.advance(&frame.header);
    let check = |wire: &[u8], chain: &Chain| FrameCopy::decode(wire).expect("it is sound").0.check(chain);
    let refused = |error| Err(CopyError::Chain(error));
    assert_eq!(check(&sent(&first), &chain), refused(ChainError::Seq { expected: Seq(2), found: Seq(1) }));
    let lower = Chain { epoch: 1, ..chain };
    assert_eq!(check(&second(&lower), &chain), refused(ChainError::Epoch { previous: 2, found: 1 }));
    let other = Chain { hash: genesis.hash, epoch: 1, ..chain };
    assert_eq!(check(&second(&other), &Chain { epoch: 1, ..chain }), refused(ChainError::Hash));
    let venue = Chain { cluster: [0; 16], ..genesis };
    assert_eq!(check(&sent(&first), &venue), Err(CopyError::Frame(FrameError::Cluster)));
    assert_eq!(
        CopyError::NotPromised { promised: 3, epoch: 4 }.to_string(),
        "it is of epoch 4, and this node has promised 3 only"
    );
}

/// Linked and in its place, but with a record that nobody writes: a primary's fault, seen before it is executed.
#[test]
fn a_record_that_nobody_writes_is_found() {
    let chain = Chain::genesis(&VENUE);
    let bytes = build(&chain, 1, 2);
    let frame = Frame::decode(&bytes, &VENUE.cluster, HERE).expect("it is sound");
    let mut records = frame.copy().records.to_vec();
    records[0] = 0xff;
    let copy = FrameCopy { records: &records, ..frame.copy() };
    let found = copy.commands(Nanos(0), &mut Vec::new());
    assert!(
        matches!(found, Err(CopyError::Record(DecodeError { offset: 0, fault }))
        if !matches!(fault, DecodeFault::Surplus)),
        "{found:?}"
    );
    assert_eq!(copy.check(&chain), Err(CopyError::Frame(FrameError::Chain)));
    assert_eq!(bytes[HEADER_BYTES..][..records.len()], *frame.copy().records);
}
