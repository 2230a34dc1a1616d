//! Reading one whole segment: every frame of it, and that nothing stands behind the last.

use std::path::Path;

use ironbell_record::segment::FRAMES_OFFSET;
use ironbell_record::{BLOCK_BYTES, Chain, Executed, Frame, FrameHeader, Place, SegmentHeader};
use ironbell_store::disk::{Access, DiskFile as _};
use ironbell_store::{DataKey, Disk};
use ironbell_types::{Nanos, Seq, Sequenced};

use crate::Journal;
use crate::error::Error;
use crate::manifest::{Facts, hex, sha256};

/// What is wrong with a segment, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    pub offset: u64,
    pub seq: Seq,
    pub what: String,
}

/// A segment, read and checked.
#[derive(Debug)]
pub(crate) struct Whole {
    pub facts: Facts,
    /// Its bytes with every record plain: what is compressed.
    pub plain: Vec<u8>,
}

/// Reads `bytes`, the whole segment `index` of `cluster`. Frames are checked as at a recovery: checksums, tags, links,
/// Seqs, times and records.
pub(crate) fn read(
    bytes: Vec<u8>,
    index: u64,
    cluster: &[u8; 16],
    data_key: Option<&DataKey>,
) -> Result<Whole, Fault> {
    let at_start = |what: String| Fault { offset: 0, seq: Seq(0), what };
    let header = SegmentHeader::decode(&bytes).map_err(|fault| at_start(fault.to_string()))?;
    if (header.cluster, header.index, header.bytes) != (*cluster, index, bytes.len() as u64) {
        return Err(at_start("it is another segment, or not all of it".to_owned()));
    }
    let file_sha256 = sha256(&bytes);
    let mut plain = bytes;
    let (mut offset, mut begin, mut chain) = (FRAMES_OFFSET as usize, None, None::<Chain>);
    let mut commands: Vec<Sequenced> = Vec::new();
    while offset < plain.len() {
        let place = Place { nonce: header.nonce, offset: offset as u64 };
        if plain[offset..][..BLOCK_BYTES].iter().all(|byte| *byte == 0) {
            break;
        }
        let seq = chain.as_ref().map_or(Seq(0), |chain| chain.last_seq.next());
        let fault = |what: String| Fault { offset: offset as u64, seq, what };
        let frame = match data_key {
            None => Frame::decode(&plain[offset..], cluster, place),
            Some(key) => Frame::decipher(&mut plain[offset..], cluster, place, key),
        };
        let frame = frame.map_err(|error| fault(error.to_string()))?;
        let before = chain.unwrap_or_else(|| before_first(&frame.header));
        before.check(&frame.header).map_err(|error| fault(error.to_string()))?;
        frame.commands(before.last_time, &mut commands).map_err(|error| fault(error.to_string()))?;
        begin.get_or_insert(before);
        let mut after = before;
        after.advance(&frame.header);
        chain = Some(after);
        offset += frame.header.frame_bytes();
    }
    let seq = chain.as_ref().map_or(Seq(0), |chain| chain.last_seq.next());
    if let Some(at) = plain[offset..].iter().position(|byte| *byte != 0) {
        let what = "bytes that belong to no frame".to_owned();
        return Err(Fault { offset: (offset + at) as u64, seq, what });
    }
    let (Some(begin), Some(end)) = (begin, chain) else {
        return Err(at_start("it holds no frame".to_owned()));
    };
    let facts = Facts {
        index,
        bytes: header.bytes,
        sha256: file_sha256,
        first_seq: begin.last_seq.next().0,
        last_seq: end.last_seq.0,
        last_time: end.last_time.0,
        frames: end.frames - begin.frames,
        commands: end.last_seq.0 - begin.last_seq.0,
        previous: hex(&begin.hash.0),
        chain: hex(&end.hash.0),
    };
    Ok(Whole { facts, plain })
}

/// The history before a segment, as its first frame knows it. Whether it is the right one is for the link to say.
fn before_first(first: &FrameHeader) -> Chain {
    Chain {
        cluster: first.cluster,
        frames: first.number,
        epoch: first.epoch,
        last_seq: Seq(first.first_seq.0 - 1),
        last_time: if first.count == 0 { first.last_time } else { Nanos(0) },
        commit: Seq(0),
        executed: Executed::NOTHING,
        hash: first.previous,
    }
}

/// Enciphers again, in place, what [`read`] left plain.
pub(crate) fn encipher(plain: &mut [u8], cluster: &[u8; 16], data_key: &DataKey) -> Result<(), String> {
    let nonce = SegmentHeader::decode(plain).map_err(|fault| fault.to_string())?.nonce;
    let mut offset = FRAMES_OFFSET as usize;
    while plain.get(offset..offset + BLOCK_BYTES).is_some_and(|block| block.iter().any(|byte| *byte != 0)) {
        let place = Place { nonce, offset: offset as u64 };
        let header = Frame::encipher_again(&mut plain[offset..], cluster, place, data_key);
        offset += header.map_err(|error| error.to_string())?.frame_bytes();
    }
    Ok(())
}

/// The link before the first frame of the segment in `path`; `None` when there is no such segment, or no frame in it
/// yet.
pub(crate) fn first_link<D: Disk>(journal: &Journal<D>, path: &Path) -> Result<Option<String>, Error> {
    let mut bytes = vec![0; 2 * BLOCK_BYTES];
    match journal.disk.open(path, Access::Read, false) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.and_then(|file| file.read_exact_at(&mut bytes, 0)).map_err(Error::io("read", path))?,
    }
    let Ok(segment) = SegmentHeader::decode(&bytes) else { return Ok(None) };
    let place = Place { nonce: segment.nonce, offset: FRAMES_OFFSET };
    let header = FrameHeader::decode(&bytes[FRAMES_OFFSET as usize..], &journal.cluster, place);
    Ok(header.ok().map(|header| hex(&header.previous.0)))
}
