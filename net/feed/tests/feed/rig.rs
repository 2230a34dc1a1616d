//! A feed with its log in a directory of its own, over datagrams in memory, in simulated time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ironbell_feed::datagrams::Datagrams;
use ironbell_feed::{Config, Feed};
use ironbell_sessionlog::SessionLog;
use ironbell_sync::{Producer, ring};
use ironbell_types::{Event, Nanos, Outbound};

pub const SECOND: u64 = 1_000_000_000;

/// What is under way in both directions.
#[derive(Default)]
pub struct Network {
    pub multicast: VecDeque<Vec<u8>>,
    pub requests: VecDeque<Vec<u8>>,
    pub answers: VecDeque<Vec<u8>>,
    /// The multicast socket's buffer is full.
    pub is_full: bool,
}

#[derive(Clone, Default)]
pub struct Memory(pub Rc<RefCell<Network>>);

impl Datagrams for Memory {
    fn multicast(&mut self, packet: &[u8]) -> Result<(), ErrorKind> {
        let network = &mut *self.0.borrow_mut();
        if network.is_full {
            return Err(ErrorKind::WouldBlock);
        }
        network.multicast.push_back(packet.to_vec());
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let datagram = self.0.borrow_mut().requests.pop_front()?;
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        Some((len, SocketAddr::from((Ipv4Addr::LOCALHOST, 9))))
    }

    fn unicast(&mut self, packet: &[u8], _: SocketAddr) -> Result<(), ErrorKind> {
        self.0.borrow_mut().answers.push_back(packet.to_vec());
        Ok(())
    }
}

/// A directory of the test's own, removed at its end.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("ironbell-feed-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub struct Rig {
    pub feed: Feed<Memory>,
    pub network: Memory,
    pub release: Producer<Outbound>,
    pub now: u64,
}

impl Rig {
    pub fn new(dir: &Path, config: Config) -> Self {
        let config_of_log = ironbell_sessionlog::Config {
            segment_size: 1 << 20,
            streams_max: 1,
            ..ironbell_sessionlog::Config::new(dir)
        };
        let (log, _) = SessionLog::open(&config_of_log).expect("a log in a fresh directory");
        let (release, from_release) = ring(1 << 16);
        let network = Memory::default();
        Self {
            feed: Feed::with_datagrams(config, network.clone(), log, from_release),
            network,
            release,
            now: SECOND,
        }
    }

    pub fn started(dir: &Path, config: Config) -> Self {
        let mut rig = Self::new(dir, config);
        rig.feed.end_recovery();
        rig
    }

    pub fn release(&mut self, events: &[Event]) {
        for event in events {
            self.release.push(Outbound { received: 0, event: *event }).expect("the ring has room");
        }
    }

    pub fn poll(&mut self) -> usize {
        // Requests are looked for once in a reading of the clock.
        self.now += u64::from(!self.network.0.borrow().requests.is_empty());
        let work = self.feed.poll(Nanos(self.now));
        assert!(self.feed.failure().is_none());
        work
    }

    pub fn poll_all(&mut self) {
        while self.poll() > 0 {}
    }

    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        self.network.0.borrow_mut().multicast.drain(..).collect()
    }
}
