//! Promise 8 for this role: once warm, a gateway makes no allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ironbell_device::kernel::{Connection, KernelAcceptor};

use crate::venue::{Dir, Member, Plain, Venue, config, enter_order, mass_quote, plain};

thread_local! {
    /// Of this thread: other tests of the process allocate beside this one.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator as it came; the counter is a plain cell
// without a destructor, so counting neither allocates nor runs too late.
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

type Sockets = Venue<KernelAcceptor, Plain>;

/// One poll of the gateway; returns how often it allocated.
fn poll(venue: &mut Sockets) -> u64 {
    let before = ALLOCATIONS.get();
    venue.gateway.poll(venue.now);
    let count = ALLOCATIONS.get() - before;
    venue.behind.execute(usize::MAX);
    venue.maker.poll().expect("the temporary directory has room");
    count
}

/// Sends orders until `upto` is answered; returns how often the gateway allocated.
fn trade(venue: &mut Sockets, member: &mut Member<Connection>, upto: u64) -> u64 {
    let (mut count, mut round) = (0, 0_u32);
    while member.session.next_number() <= upto {
        round += 1;
        let sent = member.session.next_number() as u32;
        // One order, now and then a quote of some instruments, and now and then something that is neither
        // and is answered by a debug packet.
        if round.is_multiple_of(7) {
            assert!(member.session.send(&mass_quote(sent, 20)));
        } else {
            assert!(member.session.send(&enter_order(sent)));
        }
        if round.is_multiple_of(100) {
            assert!(member.session.send(b"?"));
        }
        let answered = member.session.next_number();
        while member.session.next_number() == answered {
            member.pump(venue.now, usize::MAX);
            count += poll(venue);
        }
    }
    count
}

#[test]
fn a_warm_gateway_makes_no_allocation() {
    let dir = Dir::new();
    let acceptor = KernelAcceptor::bind(([127, 0, 0, 1], 0).into()).expect("loopback can be listened on");
    let mut venue = Venue::open(config(), acceptor, Plain::default(), &dir, plain("SECRET"));
    let addr = venue.gateway.local_addr();
    let join = |venue: &mut Sockets, port| {
        let stream = Connection::connect(addr).expect("loopback can be reached");
        let mut member = Member::new(stream, venue.now).login(port, "secret", "", 1);
        while !member.session.is_up() {
            member.pump(venue.now, usize::MAX);
            poll(venue);
        }
        member
    };
    let mut member = join(&mut venue, 1);
    trade(&mut venue, &mut member, 200);
    assert_eq!(trade(&mut venue, &mut member, 3_000), 0);
    assert!(venue.gateway.counters().malformed >= 5, "strange messages came along the way");
    // Another login takes the port over and is served three thousand messages from the log: the
    // login's own bookkeeping is off the warm path, what follows is on it.
    let mut late = join(&mut venue, 1);
    let mut count = 0;
    while late.session.next_number() <= 3_000 {
        late.pump(venue.now, usize::MAX);
        count += poll(&mut venue);
    }
    assert_eq!(count, 0, "while it caught up");
    assert!(ALLOCATIONS.get() > 0, "the allocator counts");
}
