//! Frames read on a thread of their own.
//!
//! Reading a frame is waiting for the disk, two checksums, a link of the chain and the decoding of its records; executing
//! it costs about as much again. Both at once make a start as quick as the slower of the two.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use ironbell_record::FrameHeader;
use ironbell_types::Sequenced;

use crate::disk::Disk;
use crate::error::Error;
use crate::reader::Reader;

/// Handed over together: frames of so many commands or more, ...
const COMMANDS: usize = 1024;
/// ... but no more frames than this, ...
const FRAMES: usize = 64;
/// ... and so many of these are read and not yet taken, at most.
const BATCHES: usize = 8;

/// A frame that was read.
struct Read {
    header: FrameHeader,
    commands: Vec<Sequenced>,
}

/// Reads on to the end on a thread of its own, and has `take` called here with each frame's header and commands, in order,
/// until it breaks off or fails. The reader may have read further than what was taken then.
///
/// # Errors
/// What `take` says; else why reading ended early, after all before it was taken.
pub fn read_ahead<D: Disk, E: From<Error>>(
    reader: &mut Reader<D>,
    mut take: impl FnMut(&FrameHeader, &[Sequenced]) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let (frames, to_take) = sync_channel::<Vec<Read>>(BATCHES);
    let (used, to_fill) = channel::<Vec<Read>>();
    // What both ends hold ends with them, however they do: neither waits for the other then.
    thread::scope(move |scope| {
        let reading = scope.spawn(move || read(reader, &frames, &to_fill));
        for batch in &to_take {
            for Read { header, commands } in &batch {
                if take(header, commands)?.is_break() {
                    return Ok(());
                }
            }
            // Once reading is over nobody wants it.
            let _ = used.send(batch);
        }
        reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(E::from)
    })
}

/// Ends when there is nothing more, or nobody takes it.
fn read<D: Disk>(
    reader: &mut Reader<D>,
    frames: &SyncSender<Vec<Read>>,
    to_fill: &Receiver<Vec<Read>>,
) -> Result<(), Error> {
    loop {
        let mut batch = to_fill.try_recv().unwrap_or_default();
        let (mut filled, mut commands) = (0, 0);
        let ended = loop {
            if commands >= COMMANDS || filled == FRAMES {
                break None;
            }
            let read = match reader.next_frame() {
                Ok(Some(frame)) => frame.header,
                Ok(None) => break Some(Ok(())),
                Err(error) => break Some(Err(error)),
            };
            if filled == batch.len() {
                batch.push(Read { header: read, commands: Vec::new() });
            }
            let place = &mut batch[filled];
            place.header = read;
            // The reader clears what it is given when it reads on.
            reader.swap_commands(&mut place.commands);
            (filled, commands) = (filled + 1, commands + place.commands.len());
        };
        batch.truncate(filled);
        let is_taken = frames.send(batch).is_ok();
        match ended {
            Some(ended) => return ended,
            None if !is_taken => return Ok(()),
            None => {}
        }
    }
}
