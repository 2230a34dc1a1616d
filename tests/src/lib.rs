//! What scenarios across crates share: the naive engine that the real one is compared with
//! ([`oracle`]), random flows of commands ([`flow`]) and what they meet ([`coverage`]), and scenarios that
//! read as text ([`scenario`]).
//!
//! Nothing ships from here, and nothing but the tests beside it may import it.

#![forbid(unsafe_code)]

pub mod coverage;
pub mod flow;
pub mod oracle;
pub mod rng;
pub mod scenario;
