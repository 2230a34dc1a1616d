//! Roles, sequencer, shard, release gate and their placement on CPUs
