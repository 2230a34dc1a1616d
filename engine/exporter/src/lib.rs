//! What a node counts, for Prometheus.
//!
//! A process of its own, on a core that nobody needs: it maps the node's metrics segment, asks the admin socket how the
//! node is, and answers over HTTP. The node does not know that it is there.

#![forbid(unsafe_code)]

pub mod certificate;
pub mod node;
pub mod scrape;
pub mod server;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("{addr}: {source}; choose a free address of this host with --listen")]
    Listen {
        /// Which.
        addr: std::net::SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// No threads, timers or notices of the service manager.
    #[error("{0}")]
    System(#[from] std::io::Error),
}
