//! Journal segments written by io_uring and read through memory maps
