//! What scenarios across crates share: the naive engine that the real one is compared with
//! ([`oracle`]) and random flows of commands ([`flow`]).
//!
//! Nothing ships from here, and nothing but the tests beside it may import it.

#![forbid(unsafe_code)]

pub mod flow;
pub mod oracle;
pub mod rng;
