//! Where thousands of sessions come from. A connection is told from others by its ports and addresses, so that one source
//! address has room for as many connections to one venue as it has ports: some 28,000 on a Linux left as it is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Why so many sessions cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are not enough ports.
    #[error(
        "{sessions} sessions to {addr} take as many ports, and {sources} source addresses have {ports} each \
         (net.ipv4.ip_local_port_range, a tenth left to others); give more with --source, or widen the range"
    )]
    Ports {
        /// Sessions asked for.
        sessions: usize,
        /// Where to.
        addr: SocketAddr,
        /// How many addresses there are to come from.
        sources: usize,
        /// Ports of each.
        ports: usize,
    },
    /// The process may not open so many sockets.
    #[error(
        "{sessions} sessions take {needed} open files, and this process may have {most}; raise `ulimit -n`"
    )]
    Files {
        /// Sessions asked for.
        sessions: usize,
        /// Files that they take.
        needed: u64,
        /// Files that are allowed.
        most: u64,
    },
}

/// The source address of each session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Used in turn. Empty: the kernel chooses.
    addresses: Vec<IpAddr>,
}

impl Sources {
    /// For so many sessions to `addr`, from these addresses; without any from the one that the kernel chooses, or, to
    /// loopback, from as many addresses of 127.0.0.0/8 as it takes. Sees that so many sockets may be opened.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(given: &[IpAddr], sessions: usize, addr: SocketAddr) -> Result<Self, Error> {
        allow_files(sessions)?;
        Self::with_ports(given, sessions, addr, ports_of_a_source())
    }

    fn with_ports(given: &[IpAddr], sessions: usize, addr: SocketAddr, ports: usize) -> Result<Self, Error> {
        let needed = sessions.div_ceil(ports);
        let is_loopback = matches!(addr.ip(), IpAddr::V4(ip) if ip.is_loopback());
        let addresses = if given.is_empty() && is_loopback && needed > 1 {
            let nth = |n: usize| Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + n as u32).into();
            (0..needed).map(nth).collect()
        } else {
            given.to_vec()
        };
        let sources = addresses.len().max(1);
        if needed > sources {
            return Err(Error::Ports { sessions, addr, sources, ports });
        }
        Ok(Self { addresses })
    }

    /// Where the `session`th comes from; `None` where the kernel chooses.
    #[must_use]
    pub fn of(&self, session: usize) -> Option<IpAddr> {
        self.addresses.get(session % self.addresses.len().max(1)).copied()
    }
}

/// Those that the kernel gives out; a tenth is left to others.
fn ports_of_a_source() -> usize {
    /// Linux's own.
    const USUAL: usize = 28_232;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<usize>().ok());
    let count = match (ends.next(), ends.next()) {
        (Some(first), Some(last)) if last > first => last - first + 1,
        _ => USUAL,
    };
    (count - count / 10).max(1)
}

/// Sees that the process may open a socket a session.
fn allow_files(sessions: usize) -> Result<(), Error> {
    /// Feeds, logs, results.
    const OTHERS: u64 = 128;
    let needed = sessions as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let most = limit.maximum.unwrap_or(u64::MAX);
    let refused = Error::Files { sessions, needed, most };
    if most < needed {
        return Err(refused);
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limit }).map_err(|_| refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn sessions_come_from_as_many_addresses_as_their_ports_take() {
        let few = Sources::with_ports(&[], 100, addr("127.0.0.1:26400"), 100).expect("there is room");
        assert_eq!((few.of(0), few.of(99)), (None, None), "the kernel chooses");
        let many = Sources::with_ports(&[], 250, addr("127.0.0.1:26400"), 100).expect("there is room");
        let mut of = std::collections::BTreeMap::new();
        for session in 0..250 {
            *of.entry(many.of(session).expect("one of ours")).or_insert(0) += 1;
        }
        assert_eq!(
            of.keys().map(ToString::to_string).collect::<Vec<_>>(),
            ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        );
        assert!(of.values().all(|count| *count <= 100), "{of:?}");
        let given = ["10.0.0.8", "10.0.0.9"].map(|ip| ip.parse().expect("an address"));
        let two = Sources::with_ports(&given, 200, addr("10.0.0.7:26400"), 100).expect("there is room");
        assert_eq!((0..200).filter(|n| two.of(*n) == Some(given[0])).count(), 100);
    }

    #[test]
    fn more_sessions_than_ports_are_refused_with_advice() {
        let refused = Sources::with_ports(&[], 101, addr("10.0.0.7:26400"), 100).expect_err("too many");
        assert!(refused.to_string().contains("--source"), "{refused}");
        let one = ["127.0.0.9".parse().expect("an address")];
        assert!(
            Sources::with_ports(&one, 101, addr("127.0.0.1:26400"), 100).is_err(),
            "given ones are taken at their word"
        );
        assert!(allow_files(1 << 40).is_err_and(|e| e.to_string().contains("ulimit")));
        assert!(ports_of_a_source() > 100);
    }
}
