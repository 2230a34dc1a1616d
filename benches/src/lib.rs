//! Load generator and latency harness
