//! Promise 8 for this role: once warm, the feed makes no allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::ErrorKind;
use std::net::SocketAddr;

use ironbell_feed::datagrams::Datagrams;
use ironbell_feed::{Config, Feed};
use ironbell_sessionlog::SessionLog;
use ironbell_sync::ring;
use ironbell_types::{Nanos, Outbound};
use ironbell_wire::mold::Request;
use zerocopy::IntoBytes;

use crate::rig::Dir;
use crate::venue::Venue;

thread_local! {
    /// Of this thread: other tests of the process allocate beside this one.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator as it came; the counter is a plain cell that
// needs no initialisation and no destructor, so that counting never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Asks for an old message at every poll, and takes whatever is sent.
struct Asking(Request);

impl Datagrams for Asking {
    fn multicast(&mut self, _: &[u8]) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let request = self.0.as_bytes();
        buffer[..request.len()].copy_from_slice(request);
        Some((request.len(), SocketAddr::from(([127, 0, 0, 1], 9))))
    }

    fn unicast(&mut self, _: &[u8], _: SocketAddr) -> Result<(), ErrorKind> {
        Ok(())
    }
}

#[test]
fn a_warm_feed_makes_no_allocation() {
    let dir = Dir::new("quiet");
    let log = ironbell_sessionlog::Config { streams_max: 1, ..ironbell_sessionlog::Config::new(&dir.0) };
    let (log, _) = SessionLog::open(&log).expect("a log in a fresh directory");
    let (mut release, from_release) = ring(1 << 16);
    let asking = Asking(Request::new(*b"0020261121", 3, 5));
    let mut feed = Feed::with_datagrams(Config::default(), asking, log, from_release);
    feed.end_recovery();
    let mut venue = Venue::new(1);
    let mut events = venue.open_venue();
    (0..20_000).for_each(|_| events.extend(venue.step()));
    let (warm, measured) = events.split_at(events.len() / 2);
    for event in warm.iter().chain(measured) {
        release.push(Outbound { received: 0, event: *event }).expect("the ring has room");
    }
    let mut now = 1;
    while feed.counters().events < warm.len() as u64 {
        now += 1;
        feed.poll(Nanos(now));
    }
    let (before, said) = (ALLOCATIONS.get(), feed.sequence());
    while feed.counters().events < events.len() as u64 {
        now += 1;
        feed.poll(Nanos(now));
    }
    assert_eq!(ALLOCATIONS.get(), before);
    assert!(feed.sequence() > said + 5_000, "the flow makes messages");
    assert!(feed.counters().answers > 100, "requests were answered meanwhile");
    assert!(feed.failure().is_none());
}
