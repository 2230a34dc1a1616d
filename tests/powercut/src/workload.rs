//! What is written to the disk, and what is read back from it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ironbell_store::{Durability, FRAME_BYTES_MAX, Identity, Options, SegmentMaker, WrappedKey, Writer};
use ironbell_types::{Command, MassCancelSlice, Nanos, Seq, Sequenced};

use crate::Failure;

const VENUE: Identity = Identity { cluster: *b"the power is cut", key: 7 };

/// How often the journal is opened again while it is recorded.
const OPENINGS: u64 = 4;

fn options(durability: Durability) -> Options {
    // Segments of three of the longest frames, so that a short run begins many.
    Options { durability, segment_bytes: 4096 + 3 * FRAME_BYTES_MAX as u64, ..Options::default() }
}

/// Command `seq`, a function of its Seq alone.
fn command(seq: u64) -> Sequenced {
    let cause = Seq(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let command = match seq % 5 {
        0 => Command::Tick,
        _ => Command::MassCancelSlice(MassCancelSlice { cause, slice: seq as u32 }),
    };
    Sequenced { seq: Seq(seq), time: Nanos(seq * 10), command }
}

/// Formats a journal and writes `frames` frames, opening it anew now and then without an orderly end,
/// and marks in the file `acknowledged` how far it is durable.
pub fn write(dir: &Path, acknowledged: &Path, durability: Durability, frames: u64) -> Result<(), Failure> {
    let mark = File::options().write(true).open(acknowledged)?;
    let options = options(durability);
    ironbell_store::format(dir, VENUE, &options, WrappedKey::NONE)?;
    for opening in 0..OPENINGS {
        let (recovery, mut writer, mut maker) = ironbell_store::open(dir, &options)?;
        let durable = writer.durable();
        let mut next = recovery.last_seq.0 + 1;
        for nth in 0..frames / OPENINGS {
            // From single commands to full frames, each a function of its number.
            let count = [1, 3, 40, 1, 200, 7, 1024, 2][((nth + opening) % 8) as usize];
            while !writer.can_begin() {
                turn(&mut writer, &mut maker, &mark)?;
            }
            let commands: Vec<_> = (next..next + count).map(command).collect();
            writer.append(&commands, Seq(durable.get()), (Seq(0), 0))?;
            next += count;
            turn(&mut writer, &mut maker, &mark)?;
        }
        if opening % 2 == 0 {
            writer.seal()?;
            turn(&mut writer, &mut maker, &mark)?;
        }
    }
    Ok(())
}

fn turn(writer: &mut Writer, maker: &mut SegmentMaker, mark: &File) -> Result<(), Failure> {
    if writer.poll()? > 0 {
        mark.write_all_at(&writer.durable().get().to_le_bytes(), 0)?;
    }
    maker.poll()?;
    Ok(())
}

/// What was found after a cut.
pub struct Found {
    pub torn: bool,
}

/// Opens what a cut has left in `dir`, twice, and goes on writing.
///
/// # Errors
/// When something acknowledged is missing, something is there that was never written, or it cannot be opened.
pub fn examine(dir: &Path, acknowledged: u64) -> Result<Found, Failure> {
    let options = options(Durability::Disk);
    let mut torn = false;
    for again in [false, true] {
        let mut next = 1;
        let replayed = ironbell_store::open_replaying(dir, &options, &mut |_, commands| {
            for found in commands {
                if *found != command(next) {
                    return Err(format!("Seq {next} reads {found:?}").into());
                }
                next += 1;
            }
            Ok(())
        });
        let (recovery, mut writer, mut maker) = match replayed {
            Ok(opened) => opened,
            // The cut came before there was a journal.
            Err(ironbell_store::Error::NotFormatted(_)) if acknowledged == 0 => return Ok(Found { torn }),
            Err(failure) => return Err(format!("it does not open: {failure}").into()),
        };
        let last = recovery.last_seq.0;
        if last < acknowledged {
            return Err(format!("Seq {} to {acknowledged} were acknowledged and are gone", last + 1).into());
        }
        if again {
            return Ok(Found { torn });
        }
        torn = recovery.torn.is_some();
        while !writer.can_begin() {
            writer.poll()?;
            maker.poll()?;
        }
        writer.append(&[command(last + 1)], recovery.last_seq, (Seq(0), 0))?;
        writer.seal()?;
    }
    unreachable!("the second round returns")
}
