//! Replay of LOBSTER level-3 recordings against a venue, and comparison of the venue's book with
//! the recorded one after every event. LOBSTER is its owner's format; Ironbell only reads it.
//!
//! `file` reads the two files, `replay` plans and compares, `generate` makes seeded recordings of
//! the same format, `paper` is a small in-memory venue for dry runs.

mod file;
mod generate;
mod paper;
mod replay;

pub use file::{BookSide, Depth, Error, Kind, Level, Message, Recording, read_messages};
pub use generate::{Generated, generate};
pub use paper::PaperVenue;
pub use replay::{Divergence, Fill, Mismatch, OrderId, Replay, Report, Step, Tally, Venue};
