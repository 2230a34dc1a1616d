//! The journal's records: frame layout, command encoding, CRC32C, hash chain
