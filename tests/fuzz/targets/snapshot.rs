//! See `snapshot` in bodies.rs.

#![no_main]

#[path = "../bodies.rs"]
#[expect(dead_code, reason = "the other targets' bodies")]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::snapshot(bytes));
