//! Scenarios across crates, and the naive engine they compare with
