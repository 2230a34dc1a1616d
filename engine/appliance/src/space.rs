//! The background role that makes files ahead of need, and what it does when the disk is full.
//!
//! Journal and logs keep files ready ahead of the one being written. When one of them cannot make the next because the
//! disk is full, the node halts order entry: a command of its own, sequenced and journaled like any other, while what
//! is ready is still untouched. Members can then only take away what they have. When all that should be ready is, order
//! entry is opened again the same way. When the last file that is ready is begun, the node stops in good order: what is
//! left of it is for the journal's end and the next start.

use std::time::Duration;

use ironbell_runtime::Stop;
use ironbell_sessionlog::Maker;
use ironbell_store::SegmentMaker;
use ironbell_sync::Producer;
use ironbell_types::{Command, Control, Inbound};

use crate::failure::Failure;
use crate::roles::Fatal;

/// What makes files ahead of need.
pub struct Makers {
    /// The journal's segments.
    pub segments: SegmentMaker,
    /// Those of the session and of the feed log.
    pub logs: [Maker; 2],
}

/// Order entry, to be halted while there is no space.
pub struct Venue {
    /// To the sequencer.
    pub sequencer: Producer<Inbound>,
    /// Whether order entry is halted, or has been asked to be.
    pub halted: bool,
}

/// What the role is given.
pub struct Space {
    /// What it drives.
    pub makers: Makers,
    /// What it halts; nothing where the node leads nothing.
    pub venue: Option<Venue>,
    /// Why the node has to stop at once.
    pub fatal: Fatal,
    /// Why it has to stop in good order.
    pub spent: Fatal,
    /// Ends every thread.
    pub stop: Stop,
}

/// A pause after each step, of a MiB at most: the order path's writes come in between.
const PAUSE: Duration = Duration::from_millis(1);
/// How often it is looked whether there is a step to take.
const PAUSE_IDLE: Duration = Duration::from_millis(20);
/// How often a full disk is asked again.
const PAUSE_FULL: Duration = Duration::from_millis(100);

impl Space {
    /// Starts it on a thread of its own, until `stop` is asked; it gives the makers back.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn start(mut self) -> Result<std::thread::JoinHandle<Makers>, Failure> {
        let work = move || {
            while !self.stop.asked() {
                let pause = self.work();
                std::thread::sleep(pause);
            }
            self.makers
        };
        std::thread::Builder::new().name("segments".into()).spawn(work).map_err(Failure::no_thread)
    }

    /// The next step of each maker; what it says of the disk is told the sequencer.
    fn work(&mut self) -> Duration {
        let mut worked = false;
        let mut full = None;
        match self.makers.segments.poll() {
            Ok(steps) => worked |= steps > 0,
            Err(error) if error.is_disk_full() => full = Some(error.to_string()),
            Err(error) => self.fatal.stop(error.to_string(), &self.stop),
        }
        for log in &mut self.makers.logs {
            match log.poll() {
                Ok(made) => worked |= made,
                Err(error) if error.is_disk_full() => full = Some(error.to_string()),
                Err(error) => self.fatal.stop(error.to_string(), &self.stop),
            }
        }
        let Some(why) = full else {
            let venue = self.venue.as_mut().filter(|venue| venue.halted && !worked);
            if venue.is_some_and(|venue| venue.ask(false)) {
                tracing::info!("there is space on the disk again; new orders are taken again");
            }
            return if worked { PAUSE } else { PAUSE_IDLE };
        };
        let venue = self.venue.as_mut().filter(|venue| !venue.halted);
        if venue.is_some_and(|venue| venue.ask(true)) {
            tracing::warn!(
                why,
                "the disk is full: new orders are refused until there is space; cancels go on"
            );
        }
        if self.makers.spares() == 0 {
            self.spent.note(format!("{why}; what was kept in reserve is used up"));
        }
        PAUSE_FULL
    }
}

impl Makers {
    /// Files that are ready, of the kind there are fewest of.
    fn spares(&self) -> usize {
        self.segments.spares().min(self.logs[0].spares()).min(self.logs[1].spares())
    }
}

impl Venue {
    /// Asks for order entry to be halted or opened; false when there is no room in the ring, which then is asked again.
    fn ask(&mut self, on: bool) -> bool {
        let command = Command::Control(Control::HaltOrderEntry { on });
        let asked = self.sequencer.push(Inbound { received: 0, command }).is_ok();
        if asked {
            self.halted = on;
        }
        asked
    }
}
