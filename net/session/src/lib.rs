//! SoupBinTCP member sessions, sans I/O
