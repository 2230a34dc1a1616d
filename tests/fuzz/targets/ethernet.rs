//! See ../ethernet.rs.

#![no_main]

#[path = "../ethernet.rs"]
mod ethernet;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ethernet::ethernet(bytes);
});
