//! What the world did to the feed.

use std::io;
use std::net::SocketAddr;

/// What the world did to the feed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket cannot be opened.
    #[error("the feed cannot {doing} {address}: {source}{}", advice(.source))]
    Socket {
        /// What for.
        doing: &'static str,
        /// The address of the configuration.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The feed's log failed.
    #[error(transparent)]
    Log(#[from] ironbell_sessionlog::Error),
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "; another process has this port: stop it or configure another port",
        io::ErrorKind::AddrNotAvailable => {
            "; no interface of this machine has that address: configure one that does"
        }
        io::ErrorKind::PermissionDenied => "; see the firewall and the address's scope",
        _ => "",
    }
}
