//! A follower of the multicast feed beside the load: when did each new order stand on the book for all to see?

use crate::load::Tick;
use ironbell_client::market_data::{FollowerConfig, MulticastClient, MulticastFollower};
use ironbell_types::{Nanos, Symbol};
use ironbell_wire::itch::Message;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where the feed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedAddr {
    /// The MoldUDP64 multicast group.
    pub group: SocketAddrV4,
    /// The interface it is joined on.
    pub interface: Ipv4Addr,
    /// Where re-requests go.
    pub rerequest: SocketAddr,
}

/// The follower, on a thread of its own.
#[derive(Debug)]
pub struct BookWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

/// Ticks for whoever reacts to them: one at a time, when it is asked for, so that none is old.
#[derive(Debug)]
pub struct Ticks {
    shared: Arc<Shared>,
}

impl Ticks {
    /// The next new order is to be told.
    pub(crate) fn want(&self) {
        self.shared.is_tick_wanted.store(true, Ordering::Release);
    }

    /// The one that was wanted, if it has come.
    pub(crate) fn take(&self) -> Option<Tick> {
        if !self.shared.is_tick_there.load(Ordering::Acquire) {
            return None;
        }
        self.shared.is_tick_there.store(false, Ordering::Relaxed);
        self.shared.tick.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// None is wanted, and one that came is let go.
    pub(crate) fn forget(&self) {
        self.shared.is_tick_wanted.store(false, Ordering::Release);
        self.take();
    }
}

#[derive(Debug, Default)]
struct Shared {
    is_tick_wanted: AtomicBool,
    is_tick_there: AtomicBool,
    tick: Mutex<Option<Tick>>,
    stop: AtomicBool,
    is_noting: AtomicBool,
    /// One past the last message delivered.
    next: AtomicU64,
    seen: Mutex<Vec<(u64, Nanos)>>,
}

impl BookWatch {
    /// Joins the feed; times are by `clock`.
    ///
    /// # Errors
    /// The group cannot be joined, or there is no thread.
    pub fn start(feed: FeedAddr, clock: Instant) -> Result<Self, String> {
        let follower = MulticastFollower::new(FollowerConfig::default());
        let mut client = MulticastClient::join(follower, feed.group, feed.interface, feed.rerequest)
            .map_err(|e| e.to_string())?;
        let shared = Arc::new(Shared::default());
        let follow = {
            let shared = Arc::clone(&shared);
            move || {
                let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
                let mut batch: Vec<(u64, Nanos)> = Vec::with_capacity(1 << 12);
                while !shared.stop.load(Ordering::Relaxed) {
                    let now = Nanos(clock.elapsed().as_nanos() as u64 + 1);
                    let taken = client.poll(now, &mut |_, message| {
                        let at = Nanos(clock.elapsed().as_nanos() as u64);
                        let tick = |stock, side, shares: u32, price: u32| Tick {
                            symbol: Symbol(stock),
                            is_buy: side == b'B',
                            qty: shares,
                            price: u64::from(price),
                            at,
                        };
                        let (order_ref, tick) = match Message::parse(message) {
                            Ok(Message::AddOrder(told)) => (
                                told.order_reference.get(),
                                tick(told.stock, told.buy_sell, told.shares.get(), told.price.get()),
                            ),
                            Ok(Message::AddOrderMpid(told)) => (
                                told.order_reference.get(),
                                tick(told.stock, told.buy_sell, told.shares.get(), told.price.get()),
                            ),
                            _ => return,
                        };
                        if shared.is_tick_wanted.swap(false, Ordering::Acquire) {
                            *shared.tick.lock().unwrap_or_else(PoisonError::into_inner) = Some(tick);
                            shared.is_tick_there.store(true, Ordering::Release);
                        }
                        batch.push((order_ref, at));
                    });
                    if shared.is_noting.load(Ordering::Relaxed) {
                        shared.seen.lock().unwrap_or_else(PoisonError::into_inner).append(&mut batch);
                    }
                    batch.clear();
                    shared.next.store(client.follower().next(), Ordering::Release);
                    if taken == 0 {
                        std::thread::sleep(Duration::from_micros(5));
                    }
                }
                Ok(())
            }
        };
        let thread = std::thread::Builder::new()
            .name("book-watch".to_owned())
            .spawn(follow)
            .map_err(|e| e.to_string())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Its ticks, for one that reacts to them.
    #[must_use]
    pub fn ticks(&self) -> Ticks {
        Ticks { shared: Arc::clone(&self.shared) }
    }

    /// From here on what is seen is noted; `count` is made room for.
    pub fn note(&self, count: usize) {
        let mut seen = self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clear();
        seen.reserve(count);
        self.shared.is_noting.store(true, Ordering::Relaxed);
    }

    /// What was seen since [`BookWatch::note`], once the feed has been quiet for 50 ms: order reference numbers and
    /// when they came.
    #[must_use]
    pub fn take(&self) -> Vec<(u64, Nanos)> {
        let mut before = self.shared.next.load(Ordering::Acquire);
        loop {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.shared.next.load(Ordering::Acquire);
            if now == before {
                break;
            }
            before = now;
        }
        self.shared.is_noting.store(false, Ordering::Relaxed);
        std::mem::take(&mut self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for BookWatch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
