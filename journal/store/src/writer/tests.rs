//! The writer's rules over a device that ends writes in any order and fails them on demand.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use ironbell_record::{Frame, Identity, SegmentHeader};
use ironbell_sync::Producer;
use ironbell_types::{Command, Nanos};
use proptest::prelude::*;

use super::*;

const VENUE: Identity = Identity { cluster: [7; 16], key: 9 };
const SLOTS: usize = 4;

/// A disk of one segment, and the writes on their way to it.
#[derive(Default)]
struct Device {
    disk: Vec<u8>,
    in_flight: Vec<(usize, usize, u64)>,
    over: VecDeque<Completion>,
    aimed: usize,
    refuse_next: bool,
}

impl Device {
    /// Ends the `nth` of the writes in flight.
    fn end(&mut self, nth: usize, staging: &[Vec<u8>], result: Option<io::Result<usize>>) {
        let (slot, bytes, offset) = self.in_flight.remove(nth % self.in_flight.len());
        if result.is_none() {
            let offset = offset as usize;
            self.disk.resize(self.disk.len().max(offset + bytes), 0);
            self.disk[offset..offset + bytes].copy_from_slice(&staging[slot][..bytes]);
        }
        self.over.push_back(Completion { slot, result: result.unwrap_or(Ok(bytes)) });
    }
}

#[derive(Clone)]
struct FakeQueue {
    device: Rc<RefCell<Device>>,
    staging: Vec<Vec<u8>>,
}

impl WriteQueue for FakeQueue {
    type File = File;

    fn slots(&self) -> usize {
        SLOTS
    }

    fn slot(&mut self, slot: usize) -> &mut [u8] {
        let busy = self.device.borrow().in_flight.iter().any(|write| write.0 == slot);
        assert!(!busy, "slot {slot} is written while in flight");
        &mut self.staging[slot]
    }

    fn staged(&self, slot: usize) -> &[u8] {
        &self.staging[slot]
    }

    fn submit(&mut self, slot: usize, bytes: usize, offset: u64) -> io::Result<()> {
        let mut device = self.device.borrow_mut();
        if device.refuse_next {
            return Err(io::Error::from_raw_os_error(libc::ENXIO));
        }
        device.in_flight.push((slot, bytes, offset));
        Ok(())
    }

    fn reap(&mut self) -> io::Result<Option<Completion>> {
        Ok(self.device.borrow_mut().over.pop_front())
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut device = self.device.borrow_mut();
        if device.over.is_empty() {
            device.end(0, &self.staging, None);
        }
        Ok(())
    }

    fn aim(&mut self, _: &File) -> io::Result<()> {
        let mut device = self.device.borrow_mut();
        assert!(device.in_flight.is_empty(), "writes in flight in two segments");
        device.aimed += 1;
        device.disk.clear();
        Ok(())
    }
}

struct Rig {
    writer: Writer<FakeQueue>,
    device: Rc<RefCell<Device>>,
    maker_writer: Producer<Segment<File>>,
    next: u64,
}

fn segment(index: u64, bytes: u64) -> Segment<File> {
    let header = SegmentHeader { cluster: VENUE.cluster, index, bytes, nonce: [index as u8; 16] };
    Segment {
        file: File::open("/dev/null").expect("/dev/null is there"),
        path: PathBuf::from("fake"),
        header,
    }
}

impl Rig {
    fn new(segment_bytes: u64) -> Self {
        let device = Rc::new(RefCell::new(Device::default()));
        let staging = vec![vec![0; FRAME_BYTES_MAX]; SLOTS];
        let queue = FakeQueue { device: Rc::clone(&device), staging };
        let (maker_writer, spares) = ironbell_sync::ring(2);
        let chain = Chain::genesis(&VENUE);
        let segment = segment(1, segment_bytes);
        let writer = Writer::new(queue, chain, segment, FRAMES_OFFSET, spares, None);
        let writer = Writer { epoch: Some(1), promised: 1, ..writer };
        Self { writer, device, maker_writer, next: 1 }
    }

    fn append(&mut self, count: u64) -> Result<(), Error> {
        let place = |seq| Sequenced { seq: Seq(seq), time: Nanos(seq), command: Command::Tick };
        let commands: Vec<_> = (self.next..self.next + count).map(place).collect();
        self.next += count;
        let commit = Seq(self.writer.durable().get());
        self.writer.append(&commands, commit, (Seq(0), 0))
    }

    fn end(&self, nth: usize) {
        self.device.borrow_mut().end(nth, &self.writer.queue.staging, None);
    }

    fn fail(&self, nth: usize, result: io::Result<usize>) {
        self.device.borrow_mut().end(nth, &self.writer.queue.staging, Some(result));
    }

    /// The last Seq up to which every frame stands whole on the disk, found by reading the disk.
    fn on_disk(&self) -> u64 {
        let device = self.device.borrow();
        let mut chain = Chain::genesis(&VENUE);
        let mut offset = FRAMES_OFFSET;
        while let Some(bytes) = device.disk.get(offset as usize..) {
            let place = Place { nonce: [1; 16], offset };
            let Ok(frame) = Frame::decode(bytes, &VENUE.cluster, place) else { break };
            chain.advance(&frame.header);
            offset += frame.header.frame_bytes() as u64;
        }
        chain.last_seq.0
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the order in which writes end, the durable mark is exactly what the disk holds without a gap.
    #[test]
    fn durable_is_the_contiguous_part_of_what_has_ended(steps in prop::collection::vec((0..3_u8, 0..64_usize), 1..200)) {
        let mut rig = Rig::new(64 << 20);
        for (step, n) in steps {
            match step {
                0 if rig.writer.can_begin() => rig.append(n as u64).expect("nothing fails"),
                1 if !rig.device.borrow().in_flight.is_empty() => rig.end(n),
                _ => {}
            }
            rig.writer.poll().expect("nothing fails");
            prop_assert_eq!(rig.writer.durable().get(), rig.on_disk());
            prop_assert!(rig.writer.in_flight() <= SLOTS);
        }
        rig.writer.seal().expect("nothing fails");
        prop_assert_eq!(rig.writer.durable().get(), rig.next - 1);
        prop_assert_eq!(rig.on_disk(), rig.next - 1);
    }

    /// A failed write stops the mark right before its frame, for ever, whatever ends well around it.
    #[test]
    fn nothing_from_a_failed_write_on_becomes_durable(
        before in 0..6_u64,
        order in prop::collection::vec(0..SLOTS, SLOTS),
        failing in 0..SLOTS,
        short: bool,
    ) {
        let mut rig = Rig::new(64 << 20);
        for _ in 0..before {
            rig.append(1).expect("nothing fails yet");
            rig.end(0);
            rig.writer.poll().expect("nothing fails yet");
        }
        for _ in 0..SLOTS {
            rig.append(1).expect("nothing fails yet");
        }
        let failing_offset = rig.device.borrow().in_flight[failing].2;
        let mut stopped = false;
        for nth in order {
            let nth = nth % rig.device.borrow().in_flight.len();
            if rig.device.borrow().in_flight[nth].2 == failing_offset {
                rig.fail(nth, if short { Ok(512) } else { Err(io::Error::from_raw_os_error(libc::EIO)) });
            } else {
                rig.end(nth);
            }
            match rig.writer.poll() {
                Err(Error::Write { offset, seq, .. }) => {
                    prop_assert!(!stopped);
                    prop_assert_eq!(offset, failing_offset);
                    prop_assert_eq!(seq, Seq(before + failing as u64 + 1));
                    stopped = true;
                }
                Err(Error::Poisoned) => prop_assert!(stopped),
                other => prop_assert!(!stopped && other.is_ok()),
            }
            prop_assert!(rig.writer.durable().get() <= before + failing as u64);
        }
        prop_assert!(stopped);
        prop_assert!(!rig.writer.can_begin());
        prop_assert!(matches!(rig.append(1), Err(Error::Poisoned)));
        prop_assert!(matches!(rig.writer.seal(), Err(Error::Poisoned)));
        prop_assert_eq!(rig.writer.queue.device.borrow().in_flight.len(), 0, "nothing is tried again");
    }
}

#[test]
fn a_write_that_cannot_begin_poisons_too() {
    let mut rig = Rig::new(64 << 20);
    rig.append(3).expect("nothing fails yet");
    rig.device.borrow_mut().refuse_next = true;
    assert!(matches!(rig.append(2), Err(Error::Write { seq: Seq(4), .. })));
    rig.end(0);
    assert!(matches!(rig.writer.poll(), Err(Error::Poisoned)));
    assert_eq!(rig.writer.durable().get(), 0);
}

#[test]
fn the_next_segment_begins_only_when_nothing_is_in_flight() {
    // Room for the header block and the longest frame, so one small frame leaves too little.
    let mut rig = Rig::new(FRAMES_OFFSET + FRAME_BYTES_MAX as u64);
    rig.append(1).expect("there is room");
    assert!(!rig.writer.can_begin(), "the longest frame would not fit");
    rig.maker_writer.push(segment(2, 1 << 20)).expect("there is room");
    rig.writer.poll().expect("nothing fails");
    assert_eq!(rig.device.borrow().aimed, 0, "a write is in flight in the first segment");
    rig.end(0);
    rig.writer.poll().expect("nothing fails");
    assert_eq!(rig.device.borrow().aimed, 1);
    assert!(rig.writer.can_begin());
    rig.append(1).expect("there is room");
    assert_eq!(rig.device.borrow().in_flight[0].2, FRAMES_OFFSET);
}

#[test]
fn without_a_ready_segment_no_frame_begins() {
    let mut rig = Rig::new(FRAMES_OFFSET + FRAME_BYTES_MAX as u64);
    rig.append(1).expect("there is room");
    rig.end(0);
    rig.writer.poll().expect("nothing fails");
    assert!(!rig.writer.can_begin());
    assert_eq!(rig.writer.durable().get(), 1);
    rig.maker_writer.push(segment(2, 1 << 20)).expect("there is room");
    assert_eq!(rig.writer.poll().expect("nothing fails"), 1);
    assert!(rig.writer.can_begin());
}

#[test]
fn nothing_is_appended_after_the_seal() {
    let mut rig = Rig::new(64 << 20);
    rig.append(5).expect("nothing fails");
    rig.writer.seal().expect("nothing fails");
    assert_eq!(rig.writer.durable().get(), 5);
    assert!(!rig.writer.can_begin());
}
