//! The gateway from outside: its two pure functions, and members over many kinds of lines.

mod inbound;
mod outbound;
mod quiet;
mod scenarios;
mod venue;
