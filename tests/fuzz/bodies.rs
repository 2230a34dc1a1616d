//! What is done with bytes that nobody wrote: no reader panics, and whatever one accepts is what we would have written.
//!
//! The same functions run under cargo-fuzz (`make fuzz`) and, with seeded bytes, in the store's tests on stable Rust.

use std::path::PathBuf;
use std::sync::OnceLock;

use ironbell_record::frame::{self, Stamp};
use ironbell_record::snapshot::{Position, SNAPSHOT_HEADER_BYTES};
use ironbell_record::superblock::{COPIES, End as OrderlyEnd, QUORUM, SUPERBLOCK_BYTES, Voids};
use ironbell_record::{
    BLOCK_BYTES, Chain, ChainHash, Executed, FRAME_BYTES_MAX, Frame, HEADER_BYTES, Identity, Place,
    SegmentHeader, Superblock,
};
use ironbell_store::sim::{End, SimDisk};
use ironbell_store::{Error, Options, WrappedKey, format_on, open_on, snapshot};
use ironbell_types::{Command, MassCancelSlice, Nanos, Seq, Sequenced};
use sha2::{Digest, Sha256};

const VENUE: Identity = Identity { cluster: *b"bytes of no-one!", key: 5 };

const PLACE: Place = Place { nonce: *b"a segment's own.", offset: 4096 };

/// Reads a frame. Its checksums are mended first, or nearly everything would end at the first of them.
pub fn frame(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= HEADER_BYTES {
        mend_frame(&mut bytes);
    }
    let Ok(frame) = Frame::decode(&bytes, &VENUE.cluster, PLACE) else { return };
    let mut commands = Vec::new();
    // An empty frame's time is that of the last command before it.
    let after = if frame.header.count == 0 { frame.header.last_time } else { Nanos(0) };
    if frame.commands(after, &mut commands).is_err() {
        return;
    }
    let header = frame.header;
    let chain = Chain {
        cluster: header.cluster,
        frames: header.number,
        epoch: header.epoch,
        last_seq: Seq(header.first_seq.0 - 1),
        last_time: after,
        commit: header.commit,
        executed: Executed::NOTHING,
        hash: header.previous,
    };
    let stamp = Stamp {
        place: header.place,
        epoch: header.epoch,
        durable_frames: header.durable_frames,
        commit: header.commit,
        executed: header.executed,
    };
    let mut again = vec![0; FRAME_BYTES_MAX];
    let encoded = frame::encode(&chain, &stamp, &commands, None, &mut again);
    assert_eq!(encoded, header);
    assert!(again[..header.frame_bytes()] == bytes[..header.frame_bytes()], "a frame has one encoding");
}

/// Makes what `bytes` say of themselves true: place, lengths and checksums.
fn mend_frame(bytes: &mut Vec<u8>) {
    bytes[..8].copy_from_slice(b"IBFRAME\n");
    bytes[8..12].copy_from_slice(&frame::FORMAT.to_le_bytes());
    bytes[16..32].copy_from_slice(&PLACE.nonce);
    bytes[32..40].copy_from_slice(&PLACE.offset.to_le_bytes());
    bytes[64..80].copy_from_slice(&VENUE.cluster);
    let payload_bytes = bytes.len() - HEADER_BYTES;
    bytes[140..144].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
    let payload = &bytes[HEADER_BYTES..];
    let link = Sha256::new().chain_update(&bytes[64..192]).chain_update(payload).finalize();
    let payload_crc = crc32c::crc32c(payload);
    bytes[192..224].copy_from_slice(&link);
    bytes[248..252].copy_from_slice(&payload_crc.to_le_bytes());
    let header_crc = crc32c::crc32c(&bytes[..252]);
    bytes[252..256].copy_from_slice(&header_crc.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// Reads a superblock of four copies, whose checksums are mended where the first byte says so.
pub fn superblock(bytes: &[u8]) {
    let Some((&mended, bytes)) = bytes.split_first() else { return };
    let mut file = vec![0; COPIES * BLOCK_BYTES];
    for (copy, bytes) in bytes.chunks(SUPERBLOCK_BYTES).take(COPIES).enumerate() {
        let block = &mut file[copy * BLOCK_BYTES..][..SUPERBLOCK_BYTES];
        block[..bytes.len()].copy_from_slice(bytes);
        if mended >> copy & 1 == 1 {
            block[..8].copy_from_slice(b"IBSUPER\n");
            block[8..12].copy_from_slice(&frame::FORMAT.to_le_bytes());
            block[12..16].copy_from_slice(&(copy as u32).to_le_bytes());
            let crc = crc32c::crc32c(&block[..SUPERBLOCK_BYTES - 4]);
            block[SUPERBLOCK_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let Ok(read) = Superblock::read(&file) else { return };
    let says_so = |copy: &usize| file[copy * BLOCK_BYTES..][..SUPERBLOCK_BYTES] == read.encode(*copy);
    assert!((0..COPIES).filter(says_so).count() >= QUORUM, "two copies say what is believed");
}

/// Reads a segment's header, whose checksum is mended.
pub fn segment(bytes: &[u8]) {
    let Ok(mut block) = <[u8; 80]>::try_from(bytes) else { return };
    block[..8].copy_from_slice(b"IBSEGMT\n");
    block[8..12].copy_from_slice(&frame::FORMAT.to_le_bytes());
    let crc = crc32c::crc32c(&block[..76]);
    block[76..].copy_from_slice(&crc.to_le_bytes());
    if let Ok(header) = SegmentHeader::decode(&block) {
        assert_eq!(header.encode(), block);
    }
}

/// Reads a snapshot of one piece, whose checksums are mended where the first byte says so.
pub fn snapshot(bytes: &[u8]) {
    let Some((&mended, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    let body_end = bytes.len().saturating_sub(16);
    if body_end >= SNAPSHOT_HEADER_BYTES && mended & 1 == 1 {
        let piece = crc32c::crc32c(&bytes[SNAPSHOT_HEADER_BYTES..body_end]);
        bytes[body_end..body_end + 4].copy_from_slice(&piece.to_le_bytes());
        bytes[body_end + 4..].fill(0);
        bytes[..8].copy_from_slice(b"IBSNAPS\n");
        let crc_at = SNAPSHOT_HEADER_BYTES - 4;
        let crc = crc32c::crc32c(&bytes[..crc_at]);
        bytes[crc_at..SNAPSHOT_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    }
    let Ok(read) = snapshot::decode(bytes.clone(), None) else { return };
    assert!(read.header.encode() == bytes[..SNAPSHOT_HEADER_BYTES]);
    for number in 0..8 {
        let part = read.part(number).unwrap_or_default();
        assert!(part.len() as u64 <= read.header.body_bytes);
    }
}

/// A snapshot of three parts, for [`snapshot`](fn@snapshot) behind a byte of its own.
pub fn some_snapshot() -> Vec<u8> {
    let chain = Chain { frames: 3, epoch: 1, last_seq: Seq(9), ..Chain::genesis(&VENUE) };
    let position = Position { chain, segment: 1, offset: 4096 };
    let of = snapshot::Of { position, state_hash: [1; 32], output_hash: 2 };
    let disk = SimDisk::new(1);
    let parts: [(u64, &[u8]); 3] = [(1, &[7; 100]), (2, &[]), (5, &[9; 30])];
    let path = snapshot::write_on(&disk, std::path::Path::new("/"), &of, &parts, None);
    disk.image(std::path::Path::new("/")).remove(&path.expect("nothing goes wrong")).expect("it is there")
}

fn dir() -> PathBuf {
    PathBuf::from("/journal")
}

fn options() -> Options {
    Options { segment_bytes: (BLOCK_BYTES + FRAME_BYTES_MAX) as u64, ..Options::default() }
}

fn command(seq: u64) -> Sequenced {
    let slice = MassCancelSlice { cause: Seq(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15)), slice: seq as u32 };
    Sequenced { seq: Seq(seq), time: Nanos(seq), command: Command::MassCancelSlice(slice) }
}

/// A journal of a few frames in two segments, which a killed writer has left.
fn written() -> &'static (SimDisk, u64) {
    static WRITTEN: OnceLock<(SimDisk, u64)> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let disk = SimDisk::new(1);
        format_on(&disk, &dir(), VENUE, &options(), WrappedKey::NONE).expect("nothing goes wrong");
        let mut last = 0;
        for count in [1, 90, 3] {
            let (_, mut writer, mut maker) =
                open_on(&disk, &dir(), &options(), &mut |_, _| Ok(())).expect("nothing goes wrong");
            while !writer.can_begin() {
                writer.poll().expect("nothing goes wrong");
                maker.poll().expect("nothing goes wrong");
            }
            let commands: Vec<_> = (last + 1..=last + count).map(command).collect();
            writer.append(&commands, Seq(last), (Seq(0), 0)).expect("nothing goes wrong");
            last += count;
            while writer.in_flight() > 0 {
                writer.poll().expect("nothing goes wrong");
            }
        }
        (disk.restart(End::Process), last)
    })
}

/// Changes files of a journal as `bytes` say, and opens it: it is refused, or what is read was written.
///
/// Each change takes eight bytes: which file, two bytes that say where by blocks, two within the block, how many
/// bytes, what with, and whether a frame's or a segment's header is mended afterwards.
pub fn journal(bytes: &[u8]) {
    let (disk, last) = written();
    let disk = disk.fork(1);
    let files: Vec<_> = disk.image(&dir()).into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    for change in bytes.chunks_exact(8).take(16) {
        let (path, image) = &files[change[0] as usize % files.len()];
        let blocks = image.len() / BLOCK_BYTES;
        let block = u16::from_le_bytes([change[1], change[2]]) as usize % blocks.min(8);
        let within = u16::from_le_bytes([change[3], change[4]]) as usize % BLOCK_BYTES;
        let count = (change[5] as usize + 1).min(BLOCK_BYTES - within);
        disk.tamper(path, block * BLOCK_BYTES, |bytes| {
            bytes[within..within + count].iter_mut().for_each(|byte| *byte ^= change[6]);
            let end = [HEADER_BYTES, 80][change[7] as usize % 2];
            if change[7] & 0x80 != 0 && path.extension().is_some_and(|extension| extension == "segment") {
                let crc = crc32c::crc32c(&bytes[..end - 4]);
                bytes[end - 4..end].copy_from_slice(&crc.to_le_bytes());
            }
        });
    }
    let mut next = 1;
    let opened = open_on(&disk, &dir(), &options(), &mut |_, found| {
        for found in found {
            assert_eq!(*found, command(next), "what is read was written");
            next += 1;
        }
        Ok(())
    });
    match opened {
        Ok((recovery, ..)) => assert!(recovery.last_seq.0 == next - 1 && next - 1 <= *last),
        Err(error) => {
            let refused = matches!(
                error,
                Error::Damaged { .. }
                    | Error::Memory { .. }
                    | Error::Layout { .. }
                    | Error::Superblock { .. }
                    | Error::Key { .. }
            );
            assert!(refused, "{error}");
        }
    }
}

/// A frame of these many commands as it is written, without what [`frame`] mends anyway.
pub fn some_frame(count: u64) -> Vec<u8> {
    let mut bytes = vec![0; FRAME_BYTES_MAX];
    let commands: Vec<_> = (1..=count).map(command).collect();
    let stamp =
        Stamp { place: PLACE, epoch: 1, durable_frames: 0, commit: Seq(0), executed: Executed::NOTHING };
    let header = frame::encode(&Chain::genesis(&VENUE), &stamp, &commands, None, &mut bytes);
    bytes.truncate(HEADER_BYTES + header.payload_bytes as usize);
    bytes
}

/// Four copies of a superblock, for [`superblock`] behind a byte of its own.
pub fn some_superblock(update: u64) -> Vec<u8> {
    let wrapped_key = WrappedKey::new(&[3; 40]).expect("it is short");
    let end = update.is_multiple_of(2).then_some(OrderlyEnd { frames: update, chain: ChainHash([7; 32]) });
    let superblock = Superblock {
        update,
        identity: VENUE,
        node: 3,
        promised_epoch: 9,
        end,
        wrapped_key,
        voids: Voids::NONE,
        durable_frames: update,
        cut: None,
    };
    (0..COPIES).flat_map(|copy| superblock.encode(copy)).collect()
}

/// A segment's header.
pub fn some_segment(index: u64) -> Vec<u8> {
    let bytes = 1 << 20;
    SegmentHeader { cluster: VENUE.cluster, index, bytes, nonce: PLACE.nonce }.encode().to_vec()
}
