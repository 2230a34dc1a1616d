//! Has signed heads journaled by the running node, on a thread of its own: a node that is busy or stopped holds up no
//! signature. The newest head stands for those before it, and is asked for again until the node takes it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use ironbell_hsm::Head;

use crate::admin;
use crate::failure::Failure;
use crate::operator::{Ask, Told};

/// How long a node that did not take it is left alone.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The thread, and the way to it. Dropping it lets it try once more.
pub(super) struct Herald {
    heads: Option<Sender<Head>>,
    journaled: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Herald {
    /// Starts it for the node with this admin socket, whose journal has the head of this size already.
    pub(super) fn start(socket: PathBuf, journaled: u64) -> Result<Self, Failure> {
        let (heads, told) = channel();
        let journaled = Arc::new(AtomicU64::new(journaled));
        let theirs = journaled.clone();
        let thread = std::thread::Builder::new()
            .name("herald".into())
            .spawn(move || work(&socket, &told, &theirs))
            .map_err(Failure::no_thread)?;
        Ok(Self { heads: Some(heads), journaled, thread: Some(thread) })
    }

    /// Has this head journaled.
    pub(super) fn tell(&self, head: Head) {
        let heads = self.heads.as_ref().expect("it is open until it is dropped");
        heads.send(head).expect("the thread ends after this end does");
    }

    /// Size of the newest head that the node journaled.
    pub(super) fn journaled(&self) -> u64 {
        self.journaled.load(Ordering::Relaxed)
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        self.heads = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(socket: &std::path::Path, heads: &Receiver<Head>, journaled: &AtomicU64) {
    let (mut newest, mut is_ending, mut is_deaf) = (None, false, false);
    while !is_ending {
        let next = match newest {
            Some(_) => heads.recv_timeout(AGAIN_AFTER),
            None => heads.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(head) => newest = Some(head),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => is_ending = true,
        }
        newest = heads.try_iter().last().or(newest);
        let Some(head) = newest else { continue };
        match ask(socket, head) {
            Ok(()) => {
                journaled.store(head.size, Ordering::Relaxed);
                (newest, is_deaf) = (None, false);
            }
            Err(failure) if !is_deaf => {
                tracing::warn!(%failure, size = head.size, "the signed head is not journaled yet; the node is asked again");
                is_deaf = true;
            }
            Err(_) => {}
        }
    }
}

fn ask(socket: &std::path::Path, head: Head) -> Result<(), Failure> {
    let Head { size, root, epoch } = head;
    let ask = Box::new(Ask::SignedHead { size, root, epoch });
    match admin::ask::<Told>(socket, &admin::Request::Control { ask, wait: true })? {
        Told::Refused { why, .. } => Err(Failure::refused(why)),
        _ => Ok(()),
    }
}
